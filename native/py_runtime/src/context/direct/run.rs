//! One direct run: the context is lent to this thread, and this thread is attached.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pyo3_ffi as ffi;

use super::state::{STATUS_BITS, Status};
use super::{DirectEnd, DirectScope, micros};
use crate::boot::python_threads;
use crate::context::job::Job;
use crate::context::thread::repair_after_interrupt;
use crate::context::{Context, Control};
use crate::cpython::async_exc;
use crate::cpython::exception;
use crate::cpython::object::Attached;
use crate::cpython::trace_functions::stop_tracing_here;
use crate::interpreter::scheduler_states;

/// After so many direct runs the context's thread collects garbage: during one it isn't collected.
const COLLECT_AFTER: u64 = 1000;

/// The context, lent to this thread.
pub(super) struct Borrowed<'a, J: Job>(&'a Context<J>);

impl<'a, J: Job> Borrowed<'a, J> {
    pub(super) fn new(context: &'a Context<J>) -> Option<Self> {
        // Made only then: its drop gives the lock back.
        context.direct.lock.try_borrow().then(|| Borrowed(context))
    }

    /// This thread's state in the context's interpreter.
    pub(super) fn thread_state(&self) -> Option<*mut ffi::PyThreadState> {
        let Borrowed(context) = self;
        let interpreter = context.direct.interpreter.load(Ordering::Relaxed);
        // SAFETY: a context that lends itself is in that interpreter, which has that number.
        unsafe { scheduler_states::of_this_thread(interpreter, context.interpreter_number()) }
    }

    /// A run begins. Others see it from here on.
    pub(super) fn begin(
        &self,
        began: Duration,
        timeout: Option<Duration>,
        state: *mut ffi::PyThreadState,
    ) {
        let Borrowed(context) = self;
        let (direct, began) = (&context.direct, micros(began));
        let deadline = timeout.map_or(0, |timeout| began.saturating_add(micros(timeout)).max(1));
        direct.deadline.store(deadline, Ordering::Relaxed);
        direct.interrupted_at.store(0, Ordering::Relaxed);
        // SAFETY: no preconditions; the value is an integer on every supported platform.
        direct.ident.store(unsafe { libc::pthread_self() } as u64, Ordering::Relaxed);
        direct.state.store(state, Ordering::Relaxed);
        context.busy_since.store(began + 1, Ordering::Relaxed);
        let number = (direct.run.load(Ordering::Relaxed) >> STATUS_BITS) + 1;
        direct.run.store((number << STATUS_BITS) | Status::Running as u64, Ordering::Release);
    }

    /// Counts the run. The holder of the lock counts, so a load and a store will do.
    pub(super) fn count(&self) {
        let Borrowed(context) = self;
        let done = context.direct.done.load(Ordering::Relaxed) + 1;
        context.direct.done.store(done, Ordering::Relaxed);
        if done.is_multiple_of(COLLECT_AFTER) {
            let _ = context.mailbox.push_control(Control::Collect);
        }
    }
}

impl<J: Job> Drop for Borrowed<'_, J> {
    fn drop(&mut self) {
        self.0.busy_since.store(0, Ordering::Relaxed);
        self.0.direct.lock.give_back();
    }
}

/// This thread is attached to the context's interpreter from here to the drop.
pub(super) struct AttachedRun<'a, J: Job> {
    context: &'a Arc<Context<J>>,
    /// Whether garbage was collected before.
    collects: bool,
    /// Set once the run has ended.
    end: Cell<Option<DirectEnd>>,
}

impl<'a, J: Job> AttachedRun<'a, J> {
    /// # Safety
    /// `state` is this thread's, which isn't attached and has borrowed the context.
    pub(super) unsafe fn new(context: &'a Arc<Context<J>>, state: *mut ffi::PyThreadState) -> Self {
        // SAFETY: as the caller vouches. Nobody else has the GIL, see `DirectUser`.
        let collects = unsafe {
            ffi::PyEval_RestoreThread(state);
            context.direct.variables().enter(Attached::assume());
            ffi::PyGC_Disable() != 0
        };
        AttachedRun { context, collects, end: Cell::new(None) }
    }

    pub(super) fn scope(&self) -> DirectScope<'_, J> {
        let direct = &self.context.direct;
        // SAFETY: attached, see the type. The context's thread keeps what these point to as long as
        // it serves, and lends the context only then.
        unsafe {
            DirectScope {
                py: Attached::assume(),
                context: self.context,
                namespace: &*direct.namespace.load(Ordering::Relaxed),
                local: &*direct.local.load(Ordering::Relaxed).cast(),
            }
        }
    }

    /// Ends the run: from here on nobody interrupts it.
    pub(super) fn end(&self) -> DirectEnd {
        if let Some(end) = self.end.get() {
            return end;
        }
        let direct = &self.context.direct;
        // SAFETY: attached, see the type.
        let py = unsafe { Attached::assume() };
        let number = direct.run.load(Ordering::Relaxed) >> STATUS_BITS;
        let end = match Status::of(direct.run.swap(number << STATUS_BITS, Ordering::SeqCst)) {
            Status::Interrupted => DirectEnd::Interrupted,
            Status::TimedOut => DirectEnd::TimedOut,
            Status::ContextDied => DirectEnd::ContextDied,
            Status::None | Status::Running => DirectEnd::Done,
        };
        if direct.exception_set.swap(false, Ordering::Relaxed) {
            async_exc::clear(py, direct.ident.load(Ordering::Relaxed));
        }
        if end != DirectEnd::Done {
            self.context.forget_interrupts();
            repair_after_interrupt(py);
        }
        exception::clear(py);
        self.end.set(Some(end));
        end
    }
}

impl<J: Job> Drop for AttachedRun<'_, J> {
    fn drop(&mut self) {
        self.end();
        // SAFETY: attached, see the type.
        let py = unsafe { Attached::assume() };
        // The next run on this thread may be another context's.
        stop_tracing_here(py, self.context.direct.state());
        python_threads::note_if_changed(py, self.context.gil_users());
        self.context.direct.variables().exit(py);
        // SAFETY: attached; detached by this.
        unsafe {
            if self.collects {
                ffi::PyGC_Enable();
            }
            ffi::PyEval_SaveThread();
        }
    }
}
