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

use std::ptr::null_mut;

use pyo3_ffi as ffi;

use crate::async_exc;
use crate::object::Attached;

/// Has a thread of this interpreter raise `KeyboardInterrupt`.
pub(super) fn strike(_: Attached<'_>, ident: u64) {
    // SAFETY: attached, and Python runs, so its exceptions exist.
    unsafe { async_exc::set(ident, ffi::PyExc_KeyboardInterrupt) };
}

/// Takes back the blow for this thread, `ident`, if there is one that it hasn't raised yet.
pub(crate) fn take_back(at: Attached<'_>, ident: u64) {
    // SAFETY: attached. Null takes the exception away.
    unsafe { async_exc::set(ident, null_mut()) };
    #[cfg(not(Py_3_13))]
    flag::lower(at, ident);
    crate::exception::clear(at);
}

/// After a blow for another thread.
pub(super) fn spare_tracers(at: Attached<'_>) {
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

#[cfg(not(Py_3_13))]
mod flag {
    use pyo3_ffi as ffi;

    use crate::code::{self, Kind};
    use crate::exception::clear;
    use crate::namespace::library_namespace;
    use crate::object::{Attached, Object};

    /// Takes the interpreter's flag away: raises an exception by its means, and forgets it. The thread,
    /// which is this one, has none to raise so far.
    pub(super) fn lower(at: Attached<'_>, ident: u64) {
        // First of all: the flag may be up.
        let _untraced = Untraced::enter(at);
        if let Some(function) = function_that_does_nothing(at) {
            // Before, so that nothing else comes up in the call that counts: whatever Python code
            // that ran, such as a finalizer, would be struck instead.
            call(at, &function);
            clear(at);
            super::strike(at, ident);
            call(at, &function);
            take_back_unless_raised(at, ident);
        }
        clear(at);
    }

    fn function_that_does_nothing(at: Attached<'_>) -> Option<Object> {
        let namespace = library_namespace(at, "py_context_router.interrupt").ok()?;
        let code = code::compile(at, b"lambda: None", "<blow>", Kind::Expression).ok()?;
        code::run(at, &code, &namespace, &namespace)
    }

    fn call(at: Attached<'_>, function: &Object) {
        // SAFETY: attached, and the function is live.
        drop(unsafe { Object::from_owned(at, ffi::PyObject_CallNoArgs(function.as_ptr())) });
    }

    /// Another error came first, where the stack or memory is at its end. Better the flag than a blow.
    fn take_back_unless_raised(_: Attached<'_>, ident: u64) {
        // SAFETY: attached; the class is asked for only if an exception is set.
        unsafe {
            let is_raised = !ffi::PyErr_Occurred().is_null()
                && ffi::PyErr_ExceptionMatches(ffi::PyExc_KeyboardInterrupt) != 0;
            if !is_raised {
                crate::async_exc::set(ident, std::ptr::null_mut());
            }
        }
    }

    /// Keeps what a job on this thread traces by from being called, where CPython can do that.
    struct Untraced<'a>(Attached<'a>);

    impl<'a> Untraced<'a> {
        fn enter(at: Attached<'a>) -> Self {
            #[cfg(Py_3_11)]
            // SAFETY: attached, with this state.
            unsafe {
                ffi::PyThreadState_EnterTracing(ffi::PyThreadState_Get());
            }
            Untraced(at)
        }
    }

    impl Drop for Untraced<'_> {
        fn drop(&mut self) {
            let _ = self.0;
            #[cfg(Py_3_11)]
            // SAFETY: attached, with the state that was entered.
            unsafe {
                ffi::PyThreadState_LeaveTracing(ffi::PyThreadState_Get());
            }
        }
    }
}
