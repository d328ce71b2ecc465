//! Asynchronous exceptions: a `KeyboardInterrupt` that a thread raises at its next bytecode,
//! because another thread has set it (`PyThreadState_SetAsyncExc`).
//!
//! Before 3.13 a flag of the whole interpreter says that some thread is to raise one, and only a
//! thread that raises one clears it. While the flag is set every thread checks at each eval-breaker
//! stop whether it is meant, and in 3.11 a thread that traces or profiles does nothing else. A
//! cancelled exception leaves the flag set. To clear it we raise one on purpose in an empty
//! function and discard it.
//!
//! A thread that gets the GIL sets the flag again if an exception is set on it. So the flag may be
//! cleared as soon as one has been set, under the GIL that the target needs to go on: in 3.11
//! threads can trace while a thread that was interrupted doesn't return from C.

mod field;
#[cfg(not(Py_3_13))]
mod flag;

use std::ptr::null_mut;

#[cfg(all(Py_3_11, not(Py_3_12)))]
use crate::cpython::collector::without_collecting;
use crate::cpython::exception::ErrorClass;
use crate::cpython::object::Attached;
pub(crate) use field::{field_offset, find_offset, is_pending};

/// Has a thread of this interpreter raise `KeyboardInterrupt`.
pub(crate) fn set(py: Attached<'_>, ident: u64) {
    // SAFETY: attached; a live class.
    unsafe { field::set(ident, ErrorClass::KeyboardInterrupt.as_ptr(py)) };
}

/// Clears the exception that is set on this thread, `ident`, and hasn't been raised yet.
pub(crate) fn clear(py: Attached<'_>, ident: u64) {
    // SAFETY: attached. Null takes the exception away.
    unsafe { field::set(ident, null_mut()) };
    #[cfg(not(Py_3_13))]
    flag::clear(py, ident);
    crate::cpython::exception::clear(py);
}

/// Clears the flag after an exception was set on another thread, for threads that trace.
pub(crate) fn clear_flag_for_tracers(py: Attached<'_>) {
    #[cfg(all(Py_3_11, not(Py_3_12)))]
    // Garbage isn't collected here, because its finalizers may take long, and this thread has
    // others to interrupt.
    without_collecting(py, || {
        // SAFETY: the call only reads.
        flag::clear(py, unsafe { libc::pthread_self() });
    });
    let _ = py;
}
