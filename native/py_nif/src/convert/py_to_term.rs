//! Python object → Erlang term: finds the object's type and hands it to the right file.
//!
//! Runs on a context thread, attached. Exact types first, by pointer comparison, because nearly
//! every value is one; subclasses after. Must never turn an object that it doesn't know into
//! something else: see [`Writer::unknown`].

use py_runtime::object::Attached;
use pyo3_ffi as ffi;
use rustler::sys::{ErlNifEnv, ErlNifTerm};

use super::term_to_py::deeper;
use super::{Fail, Types, container, number, opaque, text, type_name};

/// Writes terms into one environment.
pub(super) struct Writer<'a> {
    pub(super) at: Attached<'a>,
    pub(super) types: &'a Types,
    pub(super) env: *mut ErlNifEnv,
    /// The elements of the containers that are being built, innermost last: one buffer for the
    /// whole value instead of an allocation for each list in it.
    pub(super) parts: Vec<ErlNifTerm>,
    /// Is `env` a scratch one, whose garbage is of no consequence?
    pub(super) in_scratch: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(at: Attached<'a>, types: &'a Types, env: *mut ErlNifEnv) -> Self {
        Writer { at, types, env, parts: Vec::new(), in_scratch: false }
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
                number::int_to_term(self.at, self.env, value)
            } else if ffi::PyFloat_CheckExact(value) != 0 {
                Ok(number::float_to_term(self, ffi::PyFloat_AS_DOUBLE(value)))
            } else if value == ffi::Py_None() {
                Ok(self.types.known.none)
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
                Ok(text::bytes_to_term(self, value))
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
        // SAFETY: as for `value`; the subclass checks allow what the exact ones do.
        unsafe {
            let class = ffi::Py_TYPE(value).cast::<ffi::PyObject>();
            if class == self.types.atom.as_ptr() {
                text::atom_to_term(self, value)
            } else if class == self.types.pid.as_ptr() || class == self.types.reference.as_ptr() {
                Ok(opaque::to_term(self.env, value))
            } else if ffi::PyByteArray_Check(value) != 0 || ffi::PyMemoryView_Check(value) != 0 {
                text::buffer_to_term(self, value)
            } else if ffi::PyUnicode_Check(value) != 0 {
                text::str_to_term(self, value)
            } else if ffi::PyLong_Check(value) != 0 {
                number::int_to_term(self.at, self.env, value)
            } else if ffi::PyFloat_Check(value) != 0 {
                Ok(number::float_to_term(self, ffi::PyFloat_AS_DOUBLE(value)))
            } else if ffi::PyBytes_Check(value) != 0 {
                Ok(text::bytes_to_term(self, value))
            } else if ffi::PyList_Check(value) != 0 {
                container::list_to_term(self, value, deeper(room)?)
            } else if ffi::PyDict_Check(value) != 0 {
                container::dict_to_term(self, value, deeper(room)?)
            } else if ffi::PyTuple_Check(value) != 0 {
                container::tuple_to_term(self, value, deeper(room)?)
            } else if let Some(kind) = number::numpy_scalar(value) {
                number::numpy_to_term(self, value, kind)
            } else {
                self.unknown(value)
            }
        }
    }

    /// Everything else: the one place where object handles will be made.
    ///
    /// # Safety
    /// As for [`Writer::value`].
    #[cold]
    unsafe fn unknown(&mut self, value: *mut ffi::PyObject) -> Result<ErlNifTerm, Fail> {
        // SAFETY: `value` is live.
        Err(Fail::refuse(format!("{} object", unsafe { type_name(value) })))
    }
}
