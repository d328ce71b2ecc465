//! Which job runs on this thread.
//!
//! Functions that Python code calls find their job here: whom to answer, where its output goes,
//! which context it is in. A thread that Python code started runs no job, and neither does a
//! context's thread while it runs the preload code.

use std::cell::Cell;

use py_runtime::ffi;
use py_runtime::job::Scope;

use crate::outbound::output::{self, Voice};
use crate::request::call::Call;

/// A job that runs, on the stack of its thread.
pub(crate) struct Frame<'a> {
    pub(crate) call: &'a Call,
    pub(crate) scope: &'a Scope<'a, Call>,
    interpreter: *mut ffi::PyInterpreterState,
    pub(crate) voice: Voice,
}

thread_local! {
    static CURRENT: Cell<*const Frame<'static>> = const { Cell::new(std::ptr::null()) };
}

/// Puts back the frame below, also after a panic.
struct Restore(*const Frame<'static>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// Runs `work` as the job `call`. On return all that it has said has arrived.
pub(crate) fn enter<T>(call: &Call, scope: &Scope<'_, Call>, work: impl FnOnce() -> T) -> T {
    // SAFETY: a scope means that the thread is attached.
    let interpreter = unsafe { ffi::PyInterpreterState_Get() };
    let frame = Frame { call, scope, interpreter, voice: Voice::default() };
    let result = {
        let _restore = Restore(CURRENT.replace((&raw const frame).cast()));
        work()
    };
    if frame.voice.has_spoken.get() {
        frame.voice.finish_lines(Some(call));
        scope.detached(|| frame.voice.wait_until_heard());
    }
    result
}

/// Gives `work` the job that runs on this thread, which is attached. Python code can have one
/// interpreter run code in another on the same thread; there it is no job's.
pub(crate) fn with<T>(work: impl FnOnce(Option<&Frame<'_>>) -> T) -> T {
    // SAFETY: the frame is further down this thread's stack, where it stays until `enter` returns,
    // and nobody has more of it than a shared reference.
    let frame = unsafe { CURRENT.get().as_ref() };
    // SAFETY: the caller says that the thread is attached.
    let here = || unsafe { ffi::PyInterpreterState_Get() };
    work(frame.filter(|frame| frame.interpreter == here()))
}

/// Gives `work` the voice of the job that runs on this thread, or of the thread.
pub(crate) fn with_voice<T>(work: impl FnOnce(&Voice, Option<&Frame<'_>>) -> T) -> T {
    with(|frame| match frame {
        Some(frame) => work(&frame.voice, Some(frame)),
        None => output::with_own(|voice| work(voice, None)),
    })
}
