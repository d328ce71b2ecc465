//! The state of a conversion to terms, and binaries that share a Python object's memory.

use py_runtime::ffi;
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifTerm};

use super::handles::Handles;
use super::types::Types;
use crate::request::flags::Values;
use crate::term::TermEnv;

/// Sharing smaller values costs more than copying them.
pub(super) const SHARED_FROM: usize = 64 << 10;

/// A buffer of more parts is freed between two conversions: 1 MiB. Memory of that size comes from
/// the system page by page, and goes back to it as soon as it is freed.
const MAX_PARTS: usize = (1 << 20) / size_of::<ErlNifTerm>();

/// Writes terms into one environment.
pub(super) struct Writer<'a> {
    pub(super) py: Attached<'a>,
    pub(super) types: &'a Types,
    pub(super) handles: &'a dyn Handles,
    pub(super) env: *mut ErlNifEnv,
    /// The term for `None`.
    pub(super) none: ErlNifTerm,
    pub(super) values: Values,
    /// Whether an object without a term becomes its value, instead of a handle.
    pub(super) by_value: bool,
    /// The elements of the containers that are being built, innermost last: one buffer for the
    /// whole value instead of an allocation for each list in it.
    pub(super) parts: Vec<ErlNifTerm>,
    /// Whether `env` is a scratch environment, which may hold garbage.
    pub(super) in_scratch: bool,
    /// The last scratch environment, to be freed after the reply.
    pub(super) scratch: Option<TermEnv>,
    /// The value itself, if the converter's caller passed the only reference that it has; else
    /// null.
    pub(super) consumed: *mut ffi::PyObject,
    /// Whether all objects so far are of Python's own types, which have no finalizers that run
    /// code.
    pub(super) is_plain: bool,
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let mut parts = std::mem::take(&mut self.parts);
        if parts.capacity() <= MAX_PARTS {
            parts.clear();
            self.types.parts.set(parts);
        }
    }
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        py: Attached<'a>,
        types: &'a Types,
        handles: &'a dyn Handles,
        values: Values,
        env: *mut ErlNifEnv,
        by_value: bool,
    ) -> Self {
        let none = match values {
            Values::Erlang => types.known.none,
            Values::Elixir => types.known.nil,
        };
        Writer {
            py,
            types,
            handles,
            env,
            none,
            values,
            by_value,
            parts: types.parts.take(),
            in_scratch: false,
            scratch: None,
            consumed: std::ptr::null_mut(),
            is_plain: true,
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
            self.handles.share(self.py, self.env, &object, SHARED_FROM)
        }
    }

    /// Whether the bytes of an object are the same for ever: they are an Erlang binary's or those
    /// of a `bytes`, also through views and arrays.
    pub(super) fn never_changes(&self, object: &Object) -> bool {
        const MAX_VIEWS: u32 = 8;
        let mut object = object.clone_ref(self.py);
        for _ in 0..MAX_VIEWS {
            // SAFETY: the object is live.
            let is_bytes = unsafe { ffi::PyBytes_CheckExact(object.as_ptr()) != 0 };
            if is_bytes || object.is_instance_exactly(&self.types.buffer) {
                return true;
            }
            let next = if object.has_class_name(self.py, c"memoryview") {
                object.getattr_c(self.py, c"obj")
            } else if object.has_class_name(self.py, c"numpy.ndarray") {
                object.getattr_c(self.py, c"base")
            } else {
                return false;
            };
            match next {
                Some(next) => object = next,
                None => break,
            }
        }
        py_runtime::exception::clear(self.py);
        false
    }
}
