//! Releasing locks that an interrupted job still owns.
//!
//! An interrupt may come between two bytecodes of Python's own `importlib`: after it has taken a
//! lock and before the block begins that would release it, or in a thread that was just woken as
//! the next owner, before that has woken the one after it. Then every thread that imports the same
//! (before 3.12: anything in any interpreter) waits for ever. So a thread in that code isn't
//! interrupted ([`is_in_importlib`]). Locks that an interrupted job has kept all the same (Python
//! itself raises exceptions in there too, when memory or the stack runs out) are released after it,
//! once no outer job waits on the thread.
//!
//! What an interrupted import of a package has imported of the package's own is forgotten, too:
//! CPython only forgets the package, and the next import of it would fail.
//!
//! The locks of `logging` are released as well: before CPython 3.13 the interrupt may come just as
//! one has been taken, and no other thread of the interpreter could log any more.

use std::ptr::null_mut;

use pyo3_ffi as ffi;

use crate::cpython::code;
use crate::cpython::collector::without_collecting;
use crate::cpython::exception::{clear, lossy_text};
use crate::cpython::namespace::library_namespace;
use crate::cpython::object::{Attached, Object};

/// The source file of that code, by its name in code objects. Modules are searched for, read and
/// run by other code, which may take long.
const BOOTSTRAP: &str = "<frozen importlib._bootstrap>";

const RELEASE: &[u8] = include_bytes!("lock_recovery.py");

/// Releases all import locks of this thread, which isn't importing anything, and those of
/// `logging`.
pub(crate) fn release_owned(py: Attached<'_>) {
    // A failure has no caller to go to; at worst no lock is released.
    if let Ok(namespace) = library_namespace(py, "py_context_router.lock_recovery") {
        let _ = code::exec(py, RELEASE, "<lock recovery>", &namespace);
    }
    clear(py);
}

/// Whether another thread is in the part of `importlib` that deals with locks. It stays there until
/// the GIL is released. Without a GIL it may leave at any time, so the answer is always `false`.
///
/// # Safety
/// Attached to the interpreter of the state, which is alive and not this thread's.
pub(crate) unsafe fn is_in_importlib(py: Attached<'_>, state: *mut ffi::PyThreadState) -> bool {
    if cfg!(Py_GIL_DISABLED) {
        return false;
    }
    // SAFETY: as the caller vouches. Up to 3.11 making the frame's object may collect garbage,
    // whose finalizers would let the thread go on.
    let (frame, code) = without_collecting(py, || unsafe {
        let frame = ffi::PyThreadState_GetFrame(state);
        let code = if frame.is_null() { null_mut() } else { ffi::PyFrame_GetCode(frame) };
        (Object::from_owned(py, frame.cast()), Object::from_owned(py, code.cast()))
    });
    // Reading its name runs no Python code.
    let name = code.and_then(|code| code.getattr_c(py, c"co_filename"));
    let is_in_bootstrap = name.and_then(|name| lossy_text(py, &name)).as_deref() == Some(BOOTSTRAP);
    drop(frame);
    clear(py);
    is_in_bootstrap
}
