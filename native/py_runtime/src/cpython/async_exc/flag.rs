//! The flag of an interpreter that one of its threads is to raise an exception, before CPython
//! 3.13.

#[cfg(Py_3_11)]
use pyo3_ffi as ffi;

use super::field;
use crate::cpython::code::{self, Kind};
use crate::cpython::exception::{self, ErrorClass};
use crate::cpython::namespace::library_namespace;
use crate::cpython::object::{Attached, Object};

/// Clears the interpreter's flag: sets an exception on this thread, `ident`, which has none, raises
/// it in an empty function, and discards it.
pub(super) fn clear(py: Attached<'_>, ident: u64) {
    // First of all: the flag may be up.
    let _untraced = TracingDisabled::enter(py);
    if let Some(function) = noop_function(py) {
        // A first call, so that nothing else happens in the second: other Python code that ran
        // then, such as a finalizer, would raise the exception.
        drop(function.call0(py));
        exception::clear(py);
        // SAFETY: attached; a live class.
        unsafe { field::set(ident, ErrorClass::KeyboardInterrupt.as_ptr(py)) };
        drop(function.call0(py));
        clear_unless_raised(py, ident);
    }
    exception::clear(py);
}

fn noop_function(py: Attached<'_>) -> Option<Object> {
    let namespace = library_namespace(py, "py_context_router.interrupt").ok()?;
    let code = code::compile(py, b"lambda: None", "<interrupt>", Kind::Expression).ok()?;
    code::run(py, &code, &namespace, &namespace)
}

/// Another error may come first, where the stack or memory is at its end. Then the exception is
/// cleared and the flag stays.
fn clear_unless_raised(py: Attached<'_>, ident: u64) {
    if !ErrorClass::KeyboardInterrupt.is_raised(py) {
        // SAFETY: attached. Null takes the exception away.
        unsafe { field::set(ident, std::ptr::null_mut()) };
    }
}

/// Keeps trace functions of a job on this thread from being called, where CPython can do that.
struct TracingDisabled<'a>(Attached<'a>);

impl<'a> TracingDisabled<'a> {
    fn enter(py: Attached<'a>) -> Self {
        #[cfg(Py_3_11)]
        // SAFETY: attached, with this state.
        unsafe {
            ffi::PyThreadState_EnterTracing(ffi::PyThreadState_Get());
        }
        TracingDisabled(py)
    }
}

impl Drop for TracingDisabled<'_> {
    fn drop(&mut self) {
        let _ = self.0;
        #[cfg(Py_3_11)]
        // SAFETY: attached, with the state that was entered.
        unsafe {
            ffi::PyThreadState_LeaveTracing(ffi::PyThreadState_Get());
        }
    }
}
