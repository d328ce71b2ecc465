//! Waiting without the GIL.

use py_runtime::ffi;
use py_runtime::object::Attached;

use super::current_job::CurrentJob;
use crate::term::is_calling;
use crate::thread::host::Unfit;

/// Does something without the GIL on a thread that is no context's.
pub(super) fn detached<T>(_: Attached<'_>, work: impl FnOnce() -> T) -> T {
    // SAFETY: attached; `work` touches nothing of Python.
    let state = unsafe { ffi::PyEval_SaveThread() };
    let result = work();
    // SAFETY: the thread's own state, detached above.
    unsafe { ffi::PyEval_RestoreThread(state) };
    result
}

/// Waits for what is in flight, without the GIL; an interrupted job waits no longer, and one that
/// runs on a scheduler not at all.
pub(super) fn wait(
    py: Attached<'_>,
    job: Option<&CurrentJob<'_>>,
    wait: impl Fn(&dyn Fn() -> bool),
) {
    match job {
        Some(job) => {
            let control = job.scope.control;
            if !control.may_wait() {
                control.note_unfit(Unfit::Waits);
                return;
            }
            control.note_raised();
            control.detached(&mut || wait(&|| control.is_interrupted()));
        }
        // Code of a job in another interpreter, or a finalizer after it.
        None if is_calling() => (),
        None => detached(py, || wait(&|| false)),
    }
}
