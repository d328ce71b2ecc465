//! Interpreters that are kept for the next context instead of being ended.
//!
//! CPython 3.12 and 3.13 lose memory for every interpreter that is ended (about 0.3 MB, with a GIL
//! of its own over 2 MB); other versions don't. So there an interpreter whose context is gone is
//! reset and set aside, which costs no more memory than ending it would. What a reset
//! undoes is in [`RESET`]; what it can't undo is the state of extension modules, which stay loaded.
//! An interpreter that can't be reset (threads still run in it, or the reset raised) is ended. So is
//! one in which a context couldn't start that then starts in a new one.

use pyo3_ffi as ffi;

use super::exit_functions::{collect_garbage, run_exit_functions};
use crate::cpython::code::Source;
use crate::cpython::namespace::library_namespace;
use crate::cpython::object::{Attached, Object};

/// Notes what a new interpreter looks like, and defines `reset`, which makes it look so again.
static RESET: Source = Source::new(include_bytes!("reset.py"), "<reset>");

/// Whether interpreters are kept on the linked Python.
pub(crate) const KEPT: bool = cfg!(all(Py_3_12, not(Py_3_14)));

/// Notes what a new interpreter looks like. `None`: it won't be kept.
pub(crate) fn note(at: Attached<'_>) -> Option<Object> {
    let namespace = library_namespace(at, "py_context_router.reset").ok()?;
    RESET.exec(at, &namespace).ok()?;
    // SAFETY: attached; the namespace is a dictionary, and the value gets a reference.
    unsafe {
        let reset = ffi::PyDict_GetItemString(namespace.as_ptr(), c"reset".as_ptr());
        Object::from_borrowed(at, reset)
    }
}

/// Makes the interpreter look as it was noted to. `false`: it can't be kept.
pub(crate) fn reset(at: Attached<'_>, reset: &Object) -> bool {
    // What runs as the context ends still has its streams and modules, as at an interpreter's end. Called
    // from here, since Python code of ours would be in its tracebacks.
    run_exit_functions(at);
    collect_garbage(at);
    // SAFETY: attached, to the interpreter that the function belongs to.
    let done = unsafe { Object::from_owned(at, ffi::PyObject_CallNoArgs(reset.as_ptr())) };
    if done.is_none() {
        crate::cpython::exception::clear(at);
    }
    done.is_some()
}
