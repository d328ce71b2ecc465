//! What the interpreter that the thread is attached to runs at its end.

use pyo3_ffi as ffi;

use crate::cpython::exception::clear;
use crate::cpython::object::{Attached, Object};

/// Runs the `atexit` callbacks of the interpreter that the thread is attached to, once each. What they
/// raise CPython reports itself.
pub(crate) fn run_exit_functions(at: Attached<'_>) {
    // SAFETY: attached; the name is a C string.
    let done = unsafe {
        Object::from_owned(at, ffi::PyImport_ImportModule(c"atexit".as_ptr()))
            .and_then(|atexit| atexit.getattr_c(at, c"_run_exitfuncs"))
            .and_then(|run| Object::from_owned(at, ffi::PyObject_CallNoArgs(run.as_ptr())))
    };
    drop(done);
    clear(at);
}

/// Collects garbage, whose finalizers run.
pub(crate) fn collect_garbage(_: Attached<'_>) {
    // SAFETY: attached. It does nothing while the collector is switched off.
    unsafe {
        ffi::PyGC_Enable();
        ffi::PyGC_Collect();
    }
}
