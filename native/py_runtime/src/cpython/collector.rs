//! Python's cyclic garbage collector.

use pyo3_ffi as ffi;

use crate::cpython::object::Attached;

/// Runs `work` while the interpreter collects no garbage by itself.
pub(crate) fn without_collecting<T>(_: Attached<'_>, work: impl FnOnce() -> T) -> T {
    // SAFETY: attached.
    let collects = unsafe { ffi::PyGC_Disable() };
    let result = work();
    if collects != 0 {
        // SAFETY: attached.
        unsafe { ffi::PyGC_Enable() };
    }
    result
}
