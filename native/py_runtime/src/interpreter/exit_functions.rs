//! What the interpreter that the thread is attached to runs at its end.

use pyo3_ffi as ffi;

use crate::cpython::exception::clear;
use crate::cpython::object::{Attached, Object};

/// Runs the `atexit` callbacks of the interpreter that the thread is attached to, once each. What
/// they raise CPython reports itself.
pub(crate) fn run_exit_functions(py: Attached<'_>) {
    let run =
        Object::import(py, c"atexit").and_then(|atexit| atexit.getattr_c(py, c"_run_exitfuncs"));
    drop(run.and_then(|run| run.call0(py)));
    clear(py);
}

/// Collects garbage, whose finalizers run.
pub(crate) fn collect_garbage(_: Attached<'_>) {
    // SAFETY: attached. It does nothing while the collector is switched off.
    unsafe {
        ffi::PyGC_Enable();
        ffi::PyGC_Collect();
    }
}
