//! Values between Erlang terms and Python objects, both ways, with nothing lost in silence.
//!
//! Uses [`crate::erlang_types`] and what is below it. Runs on a context thread that is attached to
//! its interpreter: never on a scheduler, because a large value takes as long as it takes. The
//! term's environment is that thread's alone.
//!
//! It must never guess: what has no exact counterpart is an error that names the place
//! (`args[2].x`), two keys that would become one are an error, and an atom is never minted from
//! Python data. It keeps no Python state of its own; what belongs to an interpreter is in
//! [`Types`].

mod build_map;
mod dict;
mod fail;
mod foreign;
mod handles;
mod number;
mod place;
mod py_to_term;
mod reader;
mod stack_depth;
mod tensor;
mod term_to_py;
mod text;
mod to_plain;
mod types;
mod writer;

use std::fmt::Display;

use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifTerm, enif_get_list_cell, enif_get_list_length};

use crate::request::error::ConvertError;
use crate::request::flags::Values;
use crate::term::TermEnv;
pub(crate) use build_map::set_otp_version;
use fail::Fail;
pub(crate) use handles::{HandleLookup, Handles, NoHandle};
use reader::Reader;
pub(crate) use types::Types;
use writer::Writer;

/// Converts values in one interpreter.
pub(crate) struct Converter<'a> {
    /// Proof that this thread is attached to the interpreter of `types`.
    pub(crate) py: Attached<'a>,
    /// The interpreter's types.
    pub(crate) types: &'a Types,
    /// The handles on objects that have no term. On a thread that Python code started there are
    /// none, and such an object is an error.
    pub(crate) handles: &'a dyn Handles,
    /// How terms for Python's values look.
    pub(crate) values: Values,
    /// How many containers may be nested in one value, if the stack is large enough. One level
    /// takes up to 260 bytes of it in a release build: 8000 levels fit in 2 MiB, as measured.
    pub(crate) max_depth: u32,
}

impl Converter<'_> {
    /// The Python object for a term. `root` names the term in errors.
    ///
    /// # Errors
    /// See [`ConvertError`].
    ///
    /// # Safety
    /// `term` belongs to `env`, which nobody else changes meanwhile.
    pub(crate) unsafe fn to_python(
        &self,
        env: *mut ErlNifEnv,
        term: ErlNifTerm,
        root: impl Display,
    ) -> Result<Object, ConvertError> {
        let reader = self.reader(env);
        let depth_left = stack_depth::depth_left(self.max_depth);
        // SAFETY: passed on to the caller.
        unsafe { reader.value(term, depth_left) }
            .map_err(|fail| fail.into_error(&root.to_string(), depth_left))
    }

    /// Appends the objects for the elements of a proper list to `out`; they are called `args[0]`,
    /// `args[1]`, … in errors.
    ///
    /// # Errors
    /// See [`ConvertError`]. `out` may then hold some of them.
    ///
    /// # Safety
    /// `list` belongs to `env`, which nobody else changes meanwhile.
    pub(crate) unsafe fn to_arguments(
        &self,
        env: *mut ErlNifEnv,
        list: ErlNifTerm,
        out: &mut Vec<Object>,
    ) -> Result<(), ConvertError> {
        const ROOT: &str = "args";
        let reader = self.reader(env);
        let depth_left = stack_depth::depth_left(self.max_depth);
        let mut length = 0;
        // SAFETY: `list` belongs to `env`, as the caller vouches.
        if unsafe { enif_get_list_length(env, list, &raw mut length) } == 0 {
            return Err(Fail::refuse("not a proper list").into_error(ROOT, depth_left));
        }
        if out.try_reserve(length as usize).is_err() {
            return Err(Fail::no_memory(self.py).into_error(ROOT, depth_left));
        }
        let (mut head, mut rest) = (list, list);
        for index in 0..length as usize {
            // SAFETY: as above; the list has `length` cells, so both outputs are written, and the
            // elements belong to `env` too.
            let value = unsafe {
                enif_get_list_cell(env, rest, &raw mut head, &raw mut rest);
                reader.value(head, depth_left)
            };
            out.push(value.map_err(|fail| {
                fail.in_element(|| format!("[{index}]")).into_error(ROOT, depth_left)
            })?);
        }
        Ok(())
    }

    /// `#{dtype, shape, data}` of an object that offers the buffer protocol, built in `env`. Its
    /// memory is copied unless it never changes or, with `share`, is contiguous.
    ///
    /// # Errors
    /// See [`ConvertError`].
    ///
    /// # Safety
    /// `env` is a process-independent environment that nobody else uses meanwhile. With `share`,
    /// nobody changes the object's bytes from now on.
    pub(crate) unsafe fn to_buffer(
        &self,
        env: *mut ErlNifEnv,
        object: &Object,
        share: bool,
    ) -> Result<ErlNifTerm, ConvertError> {
        let mut writer = self.writer(env, false);
        let depth_left = stack_depth::depth_left(self.max_depth);
        // SAFETY: passed on to the caller.
        unsafe { tensor::to_term(&mut writer, object, share, depth_left) }
            .map_err(|fail| fail.into_error("object", depth_left))
    }

    fn writer(&self, env: *mut ErlNifEnv, by_value: bool) -> Writer<'_> {
        Writer::new(self.py, self.types, self.handles, self.values, env, by_value)
    }

    fn reader(&self, env: *mut ErlNifEnv) -> Reader<'_> {
        Reader { py: self.py, types: self.types, handles: self.handles, env }
    }

    /// The term for a Python object, built in `env`. The object is called `result` in errors. An
    /// object without a term becomes a handle or, `by_value`, the term for its value.
    ///
    /// # Errors
    /// See [`ConvertError`]. `env` may then hold pieces that are no part of anything.
    ///
    /// # Safety
    /// `env` is a process-independent environment that nobody else uses meanwhile.
    pub(crate) unsafe fn to_term(
        &self,
        env: *mut ErlNifEnv,
        value: &Object,
        by_value: bool,
    ) -> Result<ErlNifTerm, ConvertError> {
        // SAFETY: passed on to the caller.
        unsafe { self.write(&mut self.writer(env, by_value), value) }
    }

    /// A handle on a Python object, whatever it is, built in `env`.
    ///
    /// # Errors
    /// See [`ConvertError`].
    ///
    /// # Safety
    /// As for [`to_term`](Self::to_term).
    pub(crate) unsafe fn to_handle(
        &self,
        env: *mut ErlNifEnv,
        value: Object,
    ) -> Result<ErlNifTerm, ConvertError> {
        let depth_left = stack_depth::depth_left(self.max_depth);
        self.writer(env, false).handle(value).map_err(|fail| fail.into_error("result", depth_left))
    }

    /// As [`to_term`](Self::to_term), of a value that is not used after. Whatever takes long to
    /// free is left in `deferred`, for after the reply.
    ///
    /// # Errors
    /// See [`ConvertError`].
    ///
    /// # Safety
    /// As for `to_term`.
    pub(crate) unsafe fn consume_to_term(
        &self,
        env: *mut ErlNifEnv,
        value: Object,
        by_value: bool,
        deferred: &mut DeferredDrop,
    ) -> Result<ErlNifTerm, ConvertError> {
        let mut writer = self.writer(env, by_value);
        writer.consumed = value.as_ptr();
        // SAFETY: passed on to the caller.
        let term = unsafe { self.write(&mut writer, &value) };
        deferred.scratch = writer.scratch.take();
        // A failed conversion hasn't met all there is.
        deferred.value = (term.is_ok() && writer.is_plain).then_some(value);
        term
    }

    /// A list of pairs for a dict of which the caller makes a map, because here that would take
    /// longer: of many keys, which are distinct in Erlang, too. `None` for anything else. The dict
    /// is not used after.
    ///
    /// # Errors
    /// See [`ConvertError`].
    ///
    /// # Safety
    /// As for `to_term`.
    pub(crate) unsafe fn consume_to_pairs(
        &self,
        env: *mut ErlNifEnv,
        dict: &Object,
        by_value: bool,
        deferred: &mut DeferredDrop,
    ) -> Result<Option<ErlNifTerm>, ConvertError> {
        let depth_left = stack_depth::depth_left(self.max_depth);
        let mut writer = self.writer(env, by_value);
        // SAFETY: `dict` is live; the caller vouches for the environment.
        let pairs = unsafe { dict::dict_to_pairs(&mut writer, dict.as_ptr(), depth_left) }
            .map_err(|fail| fail.into_error("result", depth_left))?;
        if pairs.is_some() && writer.is_plain {
            deferred.value = Some(dict.clone_ref(self.py));
        }
        Ok(pairs)
    }

    /// # Safety
    /// As for [`to_term`](Self::to_term), with the writer's environment.
    unsafe fn write(
        &self,
        writer: &mut Writer<'_>,
        value: &Object,
    ) -> Result<ErlNifTerm, ConvertError> {
        let depth_left = stack_depth::depth_left(self.max_depth);
        // SAFETY: `value` is live; the caller vouches for the environment.
        unsafe { writer.value(value.as_ptr(), depth_left) }
            .map_err(|fail| fail.into_error("result", depth_left))
    }
}

/// Memory of a conversion, to be freed after the reply. Dropped attached, like every [`Object`].
///
/// No object is among it whose finalizer could run Python code: all output of a job has to arrive
/// before its reply.
#[derive(Debug, Default)]
pub(crate) struct DeferredDrop {
    value: Option<Object>,
    scratch: Option<TermEnv>,
}
