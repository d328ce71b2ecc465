//! Informing CPython where the stack of a thread ends.
//!
//! Up to 3.13 CPython counts levels of recursion. From 3.14 on it compares addresses with the
//! limits of the thread's own stack, unless it was informed of another one:
//! `PyUnstable_ThreadState_SetStackProtection`, which not every 3.14 has.

use pyo3_ffi as ffi;

/// Informs CPython of this thread's large stack. `false`: there is no way to.
///
/// # Safety
/// The state is alive and this thread's.
#[cfg(not(Py_3_14))]
pub(super) unsafe fn set(_: *mut ffi::PyThreadState) -> bool {
    true
}

/// Informs CPython of this thread's large stack. `false`: there is no way to.
///
/// # Safety
/// The state is alive and this thread's.
#[cfg(Py_3_14)]
pub(super) unsafe fn set(state: *mut ffi::PyThreadState) -> bool {
    use crate::sync::large_stack;
    use std::ffi::{c_int, c_void};

    type SetStackProtection =
        unsafe extern "C" fn(*mut ffi::PyThreadState, *mut c_void, usize) -> c_int;

    const NAME: &std::ffi::CStr = c"PyUnstable_ThreadState_SetStackProtection";
    // SAFETY: the name ends in NUL. A function of that name has that type.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, NAME.as_ptr()) };
    if large_stack::ensure().is_none() {
        return false;
    }
    let Some((lowest, size)) = large_stack::bounds() else { return false };
    if found.is_null() {
        return false;
    }
    // SAFETY: as above; the state is the caller's, and the stack is never unmapped.
    unsafe {
        let set: SetStackProtection = std::mem::transmute(found);
        set(state, std::ptr::without_provenance_mut(lowest), size) == 0
    }
}
