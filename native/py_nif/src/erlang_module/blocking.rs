//! Waiting without the GIL.

use py_runtime::ffi;
use py_runtime::object::Attached;

use super::current_job::Frame;

/// Does something without the GIL on a thread that is no context's.
pub(super) fn detached<T>(_: Attached<'_>, work: impl FnOnce() -> T) -> T {
    // SAFETY: attached; `work` touches nothing of Python.
    let state = unsafe { ffi::PyEval_SaveThread() };
    let result = work();
    // SAFETY: the thread's own state, detached above.
    unsafe { ffi::PyEval_RestoreThread(state) };
    result
}

/// Waits for this thread's tally without the GIL; an interrupted job waits no longer.
pub(super) fn wait(
    at: Attached<'_>,
    frame: Option<&Frame<'_>>,
    wait: impl FnOnce(&dyn Fn() -> bool),
) {
    match frame {
        Some(frame) => {
            frame.scope.note_raised();
            frame.scope.detached(|| wait(&|| frame.scope.is_struck()));
        }
        None => detached(at, || wait(&|| false)),
    }
}
