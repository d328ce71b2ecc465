//! Erlang term → Python object: looks at the term's type once and hands it to the right file.
//!
//! Runs on a context thread, attached. Must never recurse on the length of a list, only on nesting,
//! and never deeper than it is told to.

use std::sync::Arc;

use py_runtime::object::{Attached, Object};
use pyo3_ffi as ffi;
use rustler::sys::{
    ErlNifEnv, ErlNifTerm, ErlNifTermType, enif_get_double, enif_get_int64, enif_term_type,
};

use super::{ConvertError, Fail, Types, container, foreign, made, number, opaque, text};
use crate::directory::Context;
use crate::resources::{Found, handle_object};

/// Reads terms of one environment.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) py: Attached<'a>,
    pub(super) types: &'a Types,
    pub(super) context: Option<&'a Arc<Context>>,
    pub(super) env: *mut ErlNifEnv,
}

impl Reader<'_> {
    /// The object for `term`, which may nest `room` levels of containers.
    ///
    /// # Safety
    /// `term` belongs to this reader's environment, which nobody else changes meanwhile.
    pub(super) unsafe fn value(self, term: ErlNifTerm, room: u32) -> Result<Object, Fail> {
        // SAFETY: passed on to the caller.
        unsafe { self.typed(enif_term_type(self.env, term), term, room) }
    }

    /// As [`value`](Self::value), for a key of a map.
    ///
    /// # Safety
    /// As for `value`.
    pub(super) unsafe fn key(self, term: ErlNifTerm, room: u32) -> Result<Object, Fail> {
        // SAFETY: passed on to the caller.
        unsafe {
            match enif_term_type(self.env, term) {
                ErlNifTermType::ERL_NIF_TERM_TYPE_ATOM => text::atom_key_to_python(self, term),
                kind => self.typed(kind, term, room),
            }
        }
    }

    /// As [`value`](Self::value), for one of many that are probably of one type: numbers like the one
    /// before are read without asking for their type.
    ///
    /// # Safety
    /// As for `value`.
    #[inline]
    pub(super) unsafe fn next_value(
        self,
        like: &mut ErlNifTermType,
        term: ErlNifTerm,
        room: u32,
    ) -> Result<Object, Fail> {
        let (mut int, mut float) = (0, 0.0);
        // SAFETY: as for `value`; a term of another type is left alone.
        unsafe {
            match *like {
                ErlNifTermType::ERL_NIF_TERM_TYPE_INTEGER
                    if enif_get_int64(self.env, term, &raw mut int) != 0 =>
                {
                    made(self.py, ffi::PyLong_FromLongLong(int))
                }
                ErlNifTermType::ERL_NIF_TERM_TYPE_FLOAT
                    if enif_get_double(self.env, term, &raw mut float) != 0 =>
                {
                    made(self.py, ffi::PyFloat_FromDouble(float))
                }
                _ => {
                    *like = enif_term_type(self.env, term);
                    self.typed(*like, term, room)
                }
            }
        }
    }

    /// # Safety
    /// As for [`value`](Self::value); the type is the term's.
    unsafe fn typed(
        self,
        kind: ErlNifTermType,
        term: ErlNifTerm,
        room: u32,
    ) -> Result<Object, Fail> {
        use ErlNifTermType::*;
        // SAFETY: the caller vouches that `term` belongs to `env`; each reader below is given a
        // term of the type that it asks for.
        unsafe {
            match kind {
                ERL_NIF_TERM_TYPE_INTEGER => number::int_to_python(self.py, self.env, term),
                ERL_NIF_TERM_TYPE_BITSTRING => text::binary_to_python(self, term),
                ERL_NIF_TERM_TYPE_ATOM => text::atom_to_python(self, term),
                ERL_NIF_TERM_TYPE_FLOAT => number::float_to_python(self.py, self.env, term),
                ERL_NIF_TERM_TYPE_LIST => container::list_to_python(self, term, deeper(room)?),
                ERL_NIF_TERM_TYPE_TUPLE => container::tuple_to_python(self, term, room),
                ERL_NIF_TERM_TYPE_MAP => container::map_to_python(self, term, deeper(room)?),
                ERL_NIF_TERM_TYPE_PID => opaque::to_python(self, &self.types.pid, term),
                ERL_NIF_TERM_TYPE_REFERENCE => self.reference(term),
                ERL_NIF_TERM_TYPE_FUN => Err(Fail::refuse("fun")),
                ERL_NIF_TERM_TYPE_PORT => Err(Fail::refuse("port")),
                _ => Err(Fail::refuse("term of an unknown type")),
            }
        }
    }

    /// An object behind a handle, or an `erlang.Ref`.
    ///
    /// # Safety
    /// As for [`Reader::value`]; `term` is a reference.
    unsafe fn reference(self, term: ErlNifTerm) -> Result<Object, Fail> {
        // SAFETY: passed on to the caller.
        match unsafe { self.object(term) }? {
            Some(object) => Ok(object),
            // SAFETY: as above.
            None => unsafe { opaque::to_python(self, &self.types.reference, term) },
        }
    }

    /// The object behind a handle; `None` if the term is no handle.
    ///
    /// # Safety
    /// As for [`Reader::value`].
    pub(super) unsafe fn object(self, term: ErlNifTerm) -> Result<Option<Object>, Fail> {
        // SAFETY: passed on to the caller; the thread is attached to the context's interpreter.
        match unsafe { handle_object(self.py, self.context, self.env, term) } {
            Found::Object(object) => Ok(Some(object)),
            // SAFETY: as above.
            Found::NoHandle if unsafe { foreign::is_foreign_handle(self.env, term) } => {
                Err(Fail::of(ConvertError::WrongContext))
            }
            Found::NoHandle => Ok(None),
            Found::Elsewhere => Err(Fail::of(ConvertError::WrongContext)),
            Found::Gone => Err(Fail::of(ConvertError::ObjectGone)),
        }
    }
}

/// The room left one level further in.
pub(super) fn deeper(room: u32) -> Result<u32, Fail> {
    room.checked_sub(1).ok_or_else(Fail::too_deep)
}
