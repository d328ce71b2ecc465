//! Python object → Erlang term: finds the object's type and hands it to the right file.
//!
//! Runs on a context thread, attached. Exact types first, by pointer comparison, because nearly
//! every value is one; subclasses after. Must never turn an object that it doesn't know into
//! something else: see [`Writer::unknown`].

use std::ffi::CStr;
use std::sync::Arc;

use py_runtime::object::{Attached, Object};
use pyo3_ffi as ffi;
use rustler::sys::{ErlNifEnv, ErlNifTerm, enif_make_map_from_arrays};

use super::term_to_py::deeper;
use super::{
    ConvertError, Converter, Fail, Types, Values, buffer, container, number, opaque, plain, text,
};
use crate::directory::Context;
use crate::resources::new_handle;
use crate::term::OwnedEnv;

/// How many parts there is room for between two conversions: 1 MiB. Memory of that size comes from
/// the system page by page, and goes back to it as soon as it is freed.
const MOST_PARTS: usize = (1 << 20) / size_of::<ErlNifTerm>();

/// Writes terms into one environment.
pub(super) struct Writer<'a> {
    pub(super) py: Attached<'a>,
    pub(super) types: &'a Types,
    context: Option<&'a Arc<Context>>,
    pub(super) env: *mut ErlNifEnv,
    /// The term for `None`.
    none: ErlNifTerm,
    values: Values,
    /// What has no term: is it to become what it stands for, instead of a handle?
    plainly: bool,
    /// The elements of the containers that are being built, innermost last: one buffer for the
    /// whole value instead of an allocation for each list in it.
    pub(super) parts: Vec<ErlNifTerm>,
    /// Is `env` a scratch one, whose garbage is of no consequence?
    pub(super) in_scratch: bool,
    /// The last scratch environment, to be freed when nobody waits for that.
    pub(super) scratch: Option<OwnedEnv>,
    /// The value itself, where the converter's caller has given up its reference to it; else null.
    pub(super) given: *mut ffi::PyObject,
    /// Whether nothing was met so far but objects of Python's own types, whose end runs no code.
    pub(super) is_plain: bool,
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let mut parts = std::mem::take(&mut self.parts);
        if parts.capacity() <= MOST_PARTS {
            parts.clear();
            self.types.parts.set(parts);
        }
    }
}

impl<'a> Writer<'a> {
    pub(super) fn new(converter: &Converter<'a>, env: *mut ErlNifEnv, plainly: bool) -> Self {
        let Converter { py, types, context, values, .. } = *converter;
        let none = match values {
            Values::Erlang => types.known.none,
            Values::Elixir => types.known.nil,
        };
        Writer {
            py,
            types,
            context,
            env,
            none,
            values,
            plainly,
            parts: types.parts.take(),
            in_scratch: false,
            scratch: None,
            given: std::ptr::null_mut(),
            is_plain: true,
        }
    }

    /// The term for `value`, which may nest `room` levels of containers.
    ///
    /// # Safety
    /// `value` is a live object that the caller keeps alive, and `env` may be written to.
    pub(super) unsafe fn value(
        &mut self,
        value: *mut ffi::PyObject,
        room: u32,
    ) -> Result<ErlNifTerm, Fail> {
        // SAFETY: the caller keeps `value` alive; each writer below is given an object of the type
        // that it asks for.
        unsafe {
            if ffi::PyUnicode_CheckExact(value) != 0 {
                text::str_to_term(self, value)
            } else if ffi::PyLong_CheckExact(value) != 0 {
                number::int_to_term(self.py, self.env, value)
            } else if ffi::PyFloat_CheckExact(value) != 0 {
                Ok(number::float_to_term(self, ffi::PyFloat_AS_DOUBLE(value)))
            } else if value == ffi::Py_None() {
                Ok(self.none)
            } else if value == ffi::Py_True() {
                Ok(self.types.known.r#true)
            } else if value == ffi::Py_False() {
                Ok(self.types.known.r#false)
            } else if ffi::PyList_CheckExact(value) != 0 {
                container::list_to_term(self, value, deeper(room)?)
            } else if ffi::PyDict_CheckExact(value) != 0 {
                container::dict_to_term(self, value, deeper(room)?)
            } else if ffi::PyTuple_CheckExact(value) != 0 {
                container::tuple_to_term(self, value, deeper(room)?)
            } else if ffi::PyBytes_CheckExact(value) != 0 {
                text::bytes_to_term(self, value)
            } else {
                self.rarer(value, room)
            }
        }
    }

    /// The types of module `erlang`, views, subclasses and numpy's scalars.
    ///
    /// # Safety
    /// As for [`Writer::value`].
    #[inline(never)]
    unsafe fn rarer(&mut self, value: *mut ffi::PyObject, room: u32) -> Result<ErlNifTerm, Fail> {
        self.is_plain = false;
        // SAFETY: as for `value`; the subclass checks allow what the exact ones do.
        unsafe {
            let class = ffi::Py_TYPE(value).cast::<ffi::PyObject>();
            if class == self.types.atom.as_ptr() {
                text::atom_to_term(self, value)
            } else if class == self.types.pid.as_ptr() || class == self.types.reference.as_ptr() {
                Ok(opaque::to_term(self.env, value))
            } else if class == self.types.buffer.as_ptr() {
                Ok(buffer::to_term(self.env, value))
            } else if ffi::PyByteArray_Check(value) != 0 {
                text::bytearray_to_term(self, value)
            } else if ffi::PyMemoryView_Check(value) != 0 {
                text::memoryview_to_term(self, value)
            } else if ffi::PyUnicode_Check(value) != 0 {
                text::str_to_term(self, value)
            } else if ffi::PyLong_Check(value) != 0 {
                number::int_to_term(self.py, self.env, value)
            } else if ffi::PyFloat_Check(value) != 0 {
                Ok(number::float_to_term(self, ffi::PyFloat_AS_DOUBLE(value)))
            } else if ffi::PyBytes_Check(value) != 0 {
                text::bytes_to_term(self, value)
            } else if ffi::PyList_Check(value) != 0 {
                container::list_to_term(self, value, deeper(room)?)
            } else if ffi::PyDict_Check(value) != 0 {
                container::dict_to_term(self, value, deeper(room)?)
            } else if ffi::PyTuple_Check(value) != 0 {
                container::tuple_to_term(self, value, deeper(room)?)
            } else if let Some(kind) = number::numpy_scalar(value) {
                number::numpy_to_term(self, value, kind)
            } else {
                self.unknown(value, room)
            }
        }
    }

    /// A binary that shares the memory of `value`.
    ///
    /// # Safety
    /// As for [`Writer::value`]; nobody changes the object's bytes from now on.
    pub(super) unsafe fn share(&self, value: *mut ffi::PyObject) -> Option<ErlNifTerm> {
        // SAFETY: passed on to the caller; attached to the context's interpreter.
        unsafe {
            let object = Object::from_borrowed(self.py, value)?;
            buffer::share(self.py, self.context?, self.env, &object)
        }
    }

    /// Whether the bytes of an object are the same for ever: they are an Erlang binary's or those of a
    /// `bytes`, also through views and arrays.
    pub(super) fn never_changes(&self, object: &Object) -> bool {
        const DEEPEST: u32 = 8;
        let mut object = object.clone_ref(self.py);
        for _ in 0..DEEPEST {
            // SAFETY: attached; the object and its type are live, and the type's name ends in NUL.
            let next = unsafe {
                let class = ffi::Py_TYPE(object.as_ptr());
                if ffi::PyBytes_CheckExact(object.as_ptr()) != 0
                    || class.cast() == self.types.buffer.as_ptr()
                {
                    return true;
                }
                match CStr::from_ptr((*class).tp_name).to_bytes() {
                    b"memoryview" => object.getattr_c(self.py, c"obj"),
                    b"numpy.ndarray" => object.getattr_c(self.py, c"base"),
                    _ => return false,
                }
            };
            match next {
                Some(next) => object = next,
                None => break,
            }
        }
        py_runtime::exception::clear(self.py);
        false
    }

    /// Everything else: a handle on the object, or what it stands for.
    ///
    /// # Safety
    /// As for [`Writer::value`].
    #[inline(never)]
    unsafe fn unknown(&mut self, value: *mut ffi::PyObject, room: u32) -> Result<ErlNifTerm, Fail> {
        // SAFETY: `value` is live, and gets a reference.
        let object = unsafe { Object::from_borrowed(self.py, value) }.expect("not null");
        if self.plainly {
            let plain = plain::stand_in(self.py, &self.types.plain, &object)?;
            // SAFETY: as for `value`.
            return unsafe { self.value(plain.as_ptr(), deeper(room)?) };
        }
        self.handle(object)
    }

    /// What stands for an object, whatever it is.
    pub(super) fn handle(&mut self, object: Object) -> Result<ErlNifTerm, Fail> {
        let Some(context) = self.context else {
            // SAFETY: the object is live.
            let class = unsafe { super::type_name(object.as_ptr()) };
            return Err(Fail::refuse(format!("{class} object, in a thread that is no context's")));
        };
        // SAFETY: the environment may be written to; attached to the context's interpreter.
        let handle = unsafe { new_handle(self.env, context, object) }
            .ok_or_else(|| Fail::of(ConvertError::ContextEnded))?;
        Ok(match self.values {
            Values::Erlang => handle,
            Values::Elixir => self.py_object(handle),
        })
    }

    /// `%Py.Object{ref: handle}`.
    fn py_object(&self, handle: ErlNifTerm) -> ErlNifTerm {
        let known = &self.types.known;
        let (keys, values) = ([known.r#struct, known.r#ref], [known.py_object, handle]);
        let mut object = ErlNifTerm::default();
        // SAFETY: the environment may be written to, and the handle is a term of it; both arrays
        // have two terms, and the keys differ.
        unsafe {
            enif_make_map_from_arrays(self.env, keys.as_ptr(), values.as_ptr(), 2, &raw mut object);
        }
        object
    }
}
