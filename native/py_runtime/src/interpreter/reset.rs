//! Resetting an interpreter, so that the next context can use it instead of a new one.
//!
//! CPython 3.12 and 3.13 leak memory for every interpreter that is ended (about 0.3 MB, with a GIL
//! of its own over 2 MB); other versions don't. So there an interpreter whose context is gone is
//! reset and parked, which costs no more memory than ending it would. What a reset undoes is in
//! `reset.py`. What it can't undo is the state of extension modules, which stay loaded. An
//! interpreter that can't be reset (threads still run in it, or the reset raised) is ended. So is
//! one in which a context couldn't start that then starts in a new one.

use super::exit_functions::{collect_garbage, run_exit_functions};
use crate::cpython::code::Source;
use crate::cpython::namespace::library_namespace;
use crate::cpython::object::{Attached, Object};

/// Records the state of a new interpreter, and defines `reset`, which restores it.
static RESET: Source = Source::new(include_bytes!("reset.py"), "<reset>");

/// Whether interpreters are reused on the linked Python.
pub(crate) const REUSES_INTERPRETERS: bool = cfg!(all(Py_3_12, not(Py_3_14)));

/// Records the state of a new interpreter, and returns `reset`. `None`: it won't be reused.
pub(crate) fn snapshot(py: Attached<'_>) -> Option<Object> {
    let namespace = library_namespace(py, "py_context_router.reset").ok()?;
    RESET.exec(py, &namespace).ok()?;
    namespace.get_item(py, c"reset")
}

/// Restores the recorded state. `false`: the interpreter can't be reused.
pub(crate) fn reset(py: Attached<'_>, reset: &Object) -> bool {
    // Exit functions still have their streams and modules, as at an interpreter's end. They are
    // called from here, since Python code of ours would be in their tracebacks.
    run_exit_functions(py);
    collect_garbage(py);
    let done = reset.call0(py);
    if done.is_none() {
        crate::cpython::exception::clear(py);
    }
    done.is_some()
}
