//! Threads that Python code starts in the main interpreter, see `python_threads.py`.
//!
//! Other interpreters wait for theirs by `threading._shutdown`, as they end. The main one doesn't end, and
//! several contexts share it: each waits for those that it has started.

use std::ffi::CStr;
use std::sync::OnceLock;

use pyo3_ffi as ffi;

use crate::cpython::code;
use crate::cpython::exception::{Exception, clear};
use crate::cpython::namespace::library_namespace;
use crate::cpython::object::{Attached, Object};
use crate::cpython::unbound::Escaped;

const SOURCE: &[u8] = include_bytes!("python_threads.py");

/// The namespace of `python_threads.py`. It belongs to the main interpreter, which is never ended, and is used
/// there only.
static NAMESPACE: OnceLock<Escaped> = OnceLock::new();

/// Prepares the main interpreter, to which the thread is attached.
pub(crate) fn install(at: Attached<'_>) -> Result<(), Exception> {
    let namespace = library_namespace(at, "py_context_router.threads")?;
    code::exec(at, SOURCE, "<threads>", &namespace)?;
    let _ = NAMESPACE.set(Escaped::new(namespace));
    Ok(())
}

/// The thread of a worker context begins. It is attached to the main interpreter.
pub(crate) fn enter(at: Attached<'_>) {
    call(at, c"enter");
}

/// The thread of a worker context is about to end, and waits for the threads that it has started and that
/// aren't daemons. An interrupt ends the wait.
pub(crate) fn leave(at: Attached<'_>) {
    call(at, c"leave");
}

/// The application stops: has the threads of executors end, and waits for all that aren't daemons. The
/// thread is attached to the main interpreter, and no context's.
pub(crate) fn end(at: Attached<'_>) {
    call(at, c"end");
}

/// The application has stopped, and the exit functions have run. The thread is attached to the main
/// interpreter, and no context's.
pub(crate) fn finish(at: Attached<'_>) {
    call(at, c"finish");
}

fn call(at: Attached<'_>, name: &CStr) {
    let Some(namespace) = NAMESPACE.get() else { return };
    // SAFETY: attached to the main interpreter, says the caller; the namespace is a dictionary of functions
    // that need no arguments.
    let done = unsafe {
        let namespace = namespace.borrow(at);
        let function = ffi::PyDict_GetItemString(namespace.as_ptr(), name.as_ptr());
        Object::from_borrowed(at, function).and_then(|function| {
            Object::from_owned(at, ffi::PyObject_CallNoArgs(function.as_ptr()))
        })
    };
    drop(done);
    clear(at);
}
