//! Which job runs on this thread.
//!
//! Functions that Python code calls find their job here: its caller, its output, its context. A
//! thread that Python code started runs no job, and neither does a context's thread while it runs
//! the preload code.

use std::cell::Cell;

use py_runtime::ffi;
use py_runtime::object::Attached;

use crate::thread::host::{Output, outbound};
use crate::thread::job_scope::JobScope;
use crate::thread::loop_scope::{self, LoopScope};

/// A job that runs, on the stack of its thread.
pub(crate) struct CurrentJob<'a> {
    pub(crate) scope: &'a JobScope<'a>,
    interpreter: *mut ffi::PyInterpreterState,
    output: &'a dyn Output,
}

thread_local! {
    static CURRENT: Cell<*const CurrentJob<'static>> = const { Cell::new(std::ptr::null()) };
}

/// Puts back the outer job, also after a panic.
struct Restore(*const CurrentJob<'static>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// Runs `work` as the job.
pub(crate) fn enter<T>(scope: &JobScope<'_>, output: &dyn Output, work: impl FnOnce() -> T) -> T {
    // SAFETY: a scope means that the thread is attached.
    let interpreter = unsafe { Attached::assume() }.interpreter();
    let job = CurrentJob { scope, interpreter, output };
    let _restore = Restore(CURRENT.replace((&raw const job).cast()));
    work()
}

/// Runs `work`, a turn of the event loop, as no job: one may be below it on the stack, waiting.
pub(crate) fn leave<T>(work: impl FnOnce() -> T) -> T {
    let _restore = Restore(CURRENT.replace(std::ptr::null()));
    work()
}

/// Gives `work` the job that runs on this thread, which is attached, or whose step does. Python
/// code can have one interpreter run code in another on the same thread; there it is no job's.
pub(crate) fn with<T>(work: impl FnOnce(Option<&CurrentJob<'_>>) -> T) -> T {
    // SAFETY: the job is further down this thread's stack, where it stays until `enter` returns,
    // and there are only shared references to it.
    match unsafe { CURRENT.get().as_ref() } {
        Some(job) => {
            // SAFETY: the caller says that the thread is attached.
            let here = unsafe { Attached::assume() }.interpreter();
            work(Some(job).filter(|job| job.interpreter == here))
        }
        None => loop_scope::with(|running| match running {
            Some(running) => with_step(running, work),
            None => work(None),
        }),
    }
}

/// Gives `work` the job whose step runs.
fn with_step<T>(running: &LoopScope<'_>, work: impl FnOnce(Option<&CurrentJob<'_>>) -> T) -> T {
    let (mut work, mut result) = (Some(work), None);
    running.with_job(&mut |scope, output| {
        let job = CurrentJob { scope, interpreter: running.py.interpreter(), output };
        result = work.take().map(|work| work(Some(&job)));
    });
    result.expect("the work is done once")
}

/// Gives `work` the output of the job that runs on this thread, or of the thread.
pub(crate) fn with_output<T>(work: impl FnOnce(&dyn Output, Option<&CurrentJob<'_>>) -> T) -> T {
    with(|job| match job {
        Some(job) => work(job.output, Some(job)),
        None => {
            let (mut work, mut result) = (Some(work), None);
            outbound().with_thread_output(&mut |output| {
                result = work.take().map(|work| work(output, None));
            });
            result.expect("the work is done once")
        }
    })
}
