//! The flag of an interpreter that one of its threads is to raise an exception, before CPython 3.13.

use pyo3_ffi as ffi;

use super::field;
use crate::cpython::code::{self, Kind};
use crate::cpython::exception::clear;
use crate::cpython::namespace::library_namespace;
use crate::cpython::object::{Attached, Object};

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
        // SAFETY: attached, and Python runs, so its exceptions exist.
        unsafe { field::set(ident, ffi::PyExc_KeyboardInterrupt) };
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
            field::set(ident, std::ptr::null_mut());
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
