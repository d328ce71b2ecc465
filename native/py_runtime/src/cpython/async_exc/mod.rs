//! Blows: `KeyboardInterrupt`s that a thread raises at its next bytecode, because another wants it to.
//!
//! Before 3.13 a flag of the whole interpreter says that some thread is to raise one, and only a thread
//! that does takes it away. While it is up every thread looks at each turn whether it is meant, and in
//! 3.11 one that traces or profiles does nothing but look. So a blow that is no longer wanted can't just
//! be forgotten: one is raised for it, where nobody is hurt.
//!
//! A thread that gets the GIL puts the flag up again if it is meant itself. So it may go down as soon as
//! a blow is struck, which is done under the GIL that the other needs to go on: 3.11 isn't kept
//! from tracing while a thread that was struck doesn't come back from C.

mod field;
#[cfg(not(Py_3_13))]
mod flag;

use std::ptr::null_mut;

use pyo3_ffi as ffi;

use crate::cpython::object::Attached;
pub(crate) use field::{find_place, is_pending};

/// Has a thread of this interpreter raise `KeyboardInterrupt`.
pub(crate) fn set(_: Attached<'_>, ident: u64) {
    // SAFETY: attached, and Python runs, so its exceptions exist.
    unsafe { field::set(ident, ffi::PyExc_KeyboardInterrupt) };
}

/// Takes back the blow for this thread, `ident`, if there is one that it hasn't raised yet.
pub(crate) fn take_back(at: Attached<'_>, ident: u64) {
    // SAFETY: attached. Null takes the exception away.
    unsafe { field::set(ident, null_mut()) };
    #[cfg(not(Py_3_13))]
    flag::lower(at, ident);
    crate::cpython::exception::clear(at);
}

/// After a blow for another thread.
pub(crate) fn spare_tracers(at: Attached<'_>) {
    #[cfg(all(Py_3_11, not(Py_3_12)))]
    // SAFETY: attached. Garbage isn't collected here, because its finalizers may take their time, and
    // this thread has others to strike.
    unsafe {
        let collects = ffi::PyGC_Disable();
        flag::lower(at, libc::pthread_self());
        if collects != 0 {
            ffi::PyGC_Enable();
        }
    }
    let _ = at;
}
