//! Threads that Python code starts in the main interpreter, see `python_threads.py`.
//!
//! Other interpreters wait for theirs by `threading._shutdown`, as they end. The main one doesn't
//! end, and several contexts share it: each waits for those that it has started.

use std::ffi::CStr;
use std::sync::OnceLock;

use pyo3_ffi as ffi;

use crate::cpython::code;
use crate::cpython::exception::{Exception, clear};
use crate::cpython::namespace::library_namespace;
use crate::cpython::object::{Attached, Object};
use crate::cpython::unbound::Unbound;
use crate::gil::users::GilUsers;

const SOURCE: &[u8] = include_bytes!("python_threads.py");

/// The namespace of `python_threads.py`. It belongs to the main interpreter, which is never ended,
/// and is used there only.
static NAMESPACE: OnceLock<Unbound> = OnceLock::new();

/// Prepares the main interpreter, to which the thread is attached.
pub(crate) fn install(py: Attached<'_>) -> Result<(), Exception> {
    let namespace = library_namespace(py, "py_context_router.threads")?;
    code::exec(py, SOURCE, "<threads>", &namespace)?;
    let _ = NAMESPACE.set(namespace.unbind());
    let count = Object::import(py, c"_thread").and_then(|thread| thread.getattr_c(py, c"_count"));
    let _ = COUNT.set(count.ok_or_else(|| Exception::take(py))?.unbind());
    Ok(())
}

/// `_thread._count`, of the main interpreter.
static COUNT: OnceLock<Unbound> = OnceLock::new();

/// Notes whether threads that Python code has started run in this interpreter.
pub(crate) fn note(py: Attached<'_>, users: &GilUsers) {
    let newest = newest_state(py);
    let count = match COUNT.get() {
        // SAFETY: attached to the main interpreter, that of the function.
        Some(count) if py.is_in_main_interpreter() => Some(unsafe { count.bind_copy(py) }),
        _ => Object::imported(py, "_thread").and_then(|thread| thread.getattr_c(py, c"_count")),
    };
    let any = count.and_then(|count| count.call0(py)).and_then(|count| count.is_true(py));
    if any.is_none() {
        clear(py);
    }
    users.note_python_threads(any.unwrap_or(true), newest);
}

/// The same, if a thread may have begun since it was last noted.
pub(crate) fn note_if_changed(py: Attached<'_>, users: &GilUsers) {
    if users.newest() != newest_state(py) {
        note(py, users);
    }
}

/// New states are listed first.
fn newest_state(py: Attached<'_>) -> *mut ffi::PyThreadState {
    // SAFETY: attached to the interpreter; the pointer is only compared.
    unsafe { ffi::PyInterpreterState_ThreadHead(py.interpreter()) }
}

/// The thread of a worker context begins. It is attached to the main interpreter.
pub(crate) fn enter(py: Attached<'_>) {
    call(py, c"enter");
}

/// The thread of a worker context is about to end, and waits for the threads that it has started
/// and that aren't daemons. An interrupt ends the wait.
pub(crate) fn leave(py: Attached<'_>) {
    call(py, c"leave");
}

/// The application stops: has the threads of executors end, and waits for all that aren't daemons.
/// The thread is attached to the main interpreter, and no context's.
pub(crate) fn end(py: Attached<'_>) {
    call(py, c"end");
}

/// The application has stopped, and the exit functions have run. The thread is attached to the main
/// interpreter, and no context's.
pub(crate) fn finish(py: Attached<'_>) {
    call(py, c"finish");
}

fn call(py: Attached<'_>, name: &CStr) {
    let Some(namespace) = NAMESPACE.get() else { return };
    // SAFETY: attached to the main interpreter, as every caller is.
    let namespace = unsafe { namespace.bind_copy(py) };
    drop(namespace.get_item(py, name).and_then(|function| function.call0(py)));
    clear(py);
}
