//! Which job runs on this thread.
//!
//! Functions that Python code calls find their job here: whom to answer, where its output goes,
//! which context it is in. A thread that Python code started runs no job, and neither does a
//! context's thread while it runs the preload code.

use std::cell::Cell;

use py_runtime::ffi;
use py_runtime::job::Scope;

use crate::outbound::output::{self, JobOutput};
use crate::request::call::Call;

/// A job that runs, on the stack of its thread.
pub(crate) struct CurrentJob<'a> {
    pub(crate) call: &'a Call,
    pub(crate) scope: &'a Scope<'a, Call>,
    interpreter: *mut ffi::PyInterpreterState,
    pub(crate) output: JobOutput,
}

thread_local! {
    static CURRENT: Cell<*const CurrentJob<'static>> = const { Cell::new(std::ptr::null()) };
}

/// Puts back the job below, also after a panic.
struct Restore(*const CurrentJob<'static>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// Runs `work` as the job `call`. On return all that it has said has arrived.
pub(crate) fn enter<T>(call: &Call, scope: &Scope<'_, Call>, work: impl FnOnce() -> T) -> T {
    // SAFETY: a scope means that the thread is attached.
    let interpreter = unsafe { ffi::PyInterpreterState_Get() };
    let job = CurrentJob { call, scope, interpreter, output: JobOutput::default() };
    let result = {
        let _restore = Restore(CURRENT.replace((&raw const job).cast()));
        work()
    };
    if job.output.has_output.get() {
        job.output.flush(Some(call));
        scope.detached(|| job.output.wait_until_acked());
    }
    result
}

/// Gives `work` the job that runs on this thread, which is attached. Python code can have one
/// interpreter run code in another on the same thread; there it is no job's.
pub(crate) fn with<T>(work: impl FnOnce(Option<&CurrentJob<'_>>) -> T) -> T {
    // SAFETY: the job is further down this thread's stack, where it stays until `enter` returns,
    // and nobody has more of it than a shared reference.
    let job = unsafe { CURRENT.get().as_ref() };
    // SAFETY: the caller says that the thread is attached.
    let here = || unsafe { ffi::PyInterpreterState_Get() };
    work(job.filter(|job| job.interpreter == here()))
}

/// Gives `work` the output of the job that runs on this thread, or of the thread.
pub(crate) fn with_output<T>(work: impl FnOnce(&JobOutput, Option<&CurrentJob<'_>>) -> T) -> T {
    with(|job| match job {
        Some(job) => work(&job.output, Some(job)),
        None => output::with_thread_output(|output| work(output, None)),
    })
}
