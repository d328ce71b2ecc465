//! The values of `contextvars`, among them the precision of `decimal`.
//!
//! CPython keeps them per thread. Code of one context runs on several threads in turn when its
//! callers run jobs themselves, and is to see one set of values: each thread enters it, and leaves
//! it before the next one enters.

use pyo3_ffi as ffi;

use crate::cpython::exception::clear;
use crate::cpython::object::{Attached, Object};

/// A `contextvars.Context`. `None` where there was no memory for one: then each thread has values
/// of its own.
#[derive(Debug)]
pub(crate) struct ContextVariables(Option<Object>);

impl ContextVariables {
    /// A copy of the current thread's, entered.
    pub(crate) fn copy_current(py: Attached<'_>) -> Self {
        // SAFETY: attached.
        let copy = unsafe { Object::from_owned(py, ffi::PyContext_CopyCurrent()) };
        clear(py);
        let copy = ContextVariables(copy);
        copy.enter(py);
        copy
    }

    /// This thread uses them from now on. No other thread does.
    pub(crate) fn enter(&self, py: Attached<'_>) {
        let ContextVariables(Some(context)) = self else { return };
        // SAFETY: attached; a live `Context`.
        if unsafe { ffi::PyContext_Enter(context.as_ptr()) } != 0 {
            clear(py);
        }
    }

    /// This thread has the values that it had before.
    pub(crate) fn exit(&self, py: Attached<'_>) {
        let ContextVariables(Some(context)) = self else { return };
        // SAFETY: as above. It fails if code has left another one entered.
        if unsafe { ffi::PyContext_Exit(context.as_ptr()) } != 0 {
            clear(py);
        }
    }
}
