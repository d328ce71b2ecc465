//! Threads that Python code starts in the main interpreter, see `python_threads.py`.
//!
//! Other interpreters wait for theirs by `threading._shutdown`, as they end. The main one doesn't
//! end, and several contexts share it: each waits for those that it has started.

use std::ffi::CStr;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3_ffi as ffi;

use crate::cpython::code;
use crate::cpython::exception::{Exception, clear};
use crate::cpython::namespace::library_namespace;
use crate::cpython::object::{Attached, Object};
use crate::cpython::unbound::Unbound;

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

/// The newest thread state of the main interpreter when its threads were last counted.
static NEWEST: AtomicPtr<ffi::PyThreadState> = AtomicPtr::new(null_mut());

/// Whether threads that Python code has started run in the main interpreter, to which the thread is
/// attached.
pub(crate) fn any(py: Attached<'_>) -> bool {
    NEWEST.store(newest_state(py), Ordering::Relaxed);
    // SAFETY: attached to the main interpreter, as every caller is.
    let count = COUNT.get().map(|count| unsafe { count.bind_copy(py) });
    let any = count.and_then(|count| count.call0(py)).and_then(|count| count.is_true(py));
    if any.is_none() {
        clear(py);
    }
    any.unwrap_or(true)
}

/// Whether a thread may have begun since [`any`] was last called.
pub(crate) fn may_have_changed(py: Attached<'_>) -> bool {
    NEWEST.load(Ordering::Relaxed) != newest_state(py)
}

/// New states are listed first.
fn newest_state(_: Attached<'_>) -> *mut ffi::PyThreadState {
    // SAFETY: attached to the main interpreter; the pointer is only compared.
    unsafe { ffi::PyInterpreterState_ThreadHead(ffi::PyInterpreterState_Main()) }
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
