//! The trace and profile functions of a thread (`sys.settrace`, `sys.setprofile`).
//!
//! They belong to the thread, so on one that runs code of several contexts none may stay. CPython
//! has no cheap way to ask whether there are any: `PyEval_SetTrace` raises an audit event each
//! time. So the fields that have their arguments are searched for once, as `async_exc` searches for
//! its own.

use std::ffi::c_int;
use std::ptr::null_mut;
use std::sync::OnceLock;

use pyo3_ffi as ffi;

use crate::cpython::async_exc::field_offset;
use crate::cpython::object::Attached;

/// The offsets of the two fields, in words; `None`: not known.
static OFFSETS: OnceLock<Option<[usize; 2]>> = OnceLock::new();

/// Searches for the fields, once. Runs no Python code, which would be traced.
pub(crate) fn find_offsets(_: Attached<'_>) {
    // SAFETY: attached, as the token proves; a function of the right type, or none.
    let [trace, profile] = unsafe {
        [
            field_offset(|argument| ffi::PyEval_SetTrace(function_for(argument), argument)),
            field_offset(|argument| ffi::PyEval_SetProfile(function_for(argument), argument)),
        ]
    };
    let _ = OFFSETS.set(trace.zip(profile).map(|(trace, profile)| [trace, profile]));
}

fn function_for(argument: *mut ffi::PyObject) -> Option<ffi::Py_tracefunc> {
    (!argument.is_null()).then_some(ignore as ffi::Py_tracefunc)
}

extern "C" fn ignore(
    _: *mut ffi::PyObject,
    _: *mut ffi::PyFrameObject,
    _: c_int,
    _: *mut ffi::PyObject,
) -> c_int {
    0
}

/// Removes this thread's trace and profile functions. Those of an interrupted job could break the
/// next one, or block the end of the context. Dropping them may run finalizers.
pub(crate) fn stop_tracing(_: Attached<'_>) {
    // SAFETY: attached; a function that is null takes no argument.
    unsafe {
        ffi::PyEval_SetTrace(None, null_mut());
        ffi::PyEval_SetProfile(None, null_mut());
    }
}

/// As [`stop_tracing`], and fast where there are none. A function set by a C library without an
/// argument isn't found.
#[inline]
pub(crate) fn stop_tracing_here(py: Attached<'_>, state: *mut ffi::PyThreadState) {
    let is_set = |offset: usize| {
        // SAFETY: the field's offset was found in a state of the same layout. The state is this
        // thread's, as the caller says, and is written by its own thread or under the GIL.
        !unsafe { state.cast::<*mut ffi::PyObject>().add(offset).read_volatile() }.is_null()
    };
    let traces =
        OFFSETS.get().copied().flatten().is_none_or(|offsets| offsets.iter().copied().any(is_set));
    if traces {
        stop_tracing(py);
    }
}
