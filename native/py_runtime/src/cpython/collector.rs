//! Python's cyclic garbage collector.

use pyo3_ffi as ffi;

use crate::cpython::code;
use crate::cpython::exception::clear;
use crate::cpython::namespace::library_namespace;
use crate::cpython::object::Attached;

/// Has the collector run, if as much has been allocated while it was off as it waits for. It is
/// asked by an allocation, and from CPython 3.12 on runs at the next bytecode.
pub(crate) fn collect_if_due(py: Attached<'_>) {
    const ALLOCATE: &[u8] = b"for _ in range(2): [[] for _ in range(8)]";
    // A failure has no caller to go to; it is collected later.
    let _ = library_namespace(py, "py_context_router.collector")
        .and_then(|namespace| code::exec(py, ALLOCATE, "<collector>", &namespace));
    clear(py);
}

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
