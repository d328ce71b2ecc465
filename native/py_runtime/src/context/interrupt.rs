//! A context's side of being interrupted, and of being checked by the watchdog.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pyo3_ffi as ffi;

use super::Context;
use super::job::Job;
use super::watchdog::WatchTarget;
use crate::cpython::async_exc;
use crate::cpython::object::Attached;
use crate::gil::drop_request::GilHolder;
use crate::interpreter;
use crate::interpreter::mode::Mode;
use crate::interrupt::interrupter::{self, Gil, Interruptible, Target};
use crate::interrupt::lock_recovery;
use crate::sync::reply_state::Cancel;

impl<J: Job> Context<J> {
    /// Interrupts the target until it ends, on another thread.
    pub(super) fn interrupt_in_background(self: &Arc<Self>, target: Target) {
        let context: Arc<dyn Interruptible> = Arc::clone(self) as _;
        interrupter::schedule(context, target, false);
    }

    /// As [`Context::interrupt_in_background`], and at once if the target has been interrupted
    /// already.
    pub(super) fn interrupt_now(self: &Arc<Self>, target: Target) {
        let context: Arc<dyn Interruptible> = Arc::clone(self) as _;
        interrupter::schedule(context, target, true);
    }

    /// Something that was interrupted has ended.
    pub(super) fn forget_interrupts(&self) {
        interrupter::forget_ended(std::ptr::from_ref(self).cast(), Interruptible::gil(self));
    }

    /// The state of the thread that runs the target. Null if it has none any more.
    fn state_of(&self, target: Target) -> *mut ffi::PyThreadState {
        match target {
            Target::Direct(_) => self.direct.state(),
            Target::Job(_) | Target::Housekeeping => self.state.load(Ordering::Relaxed),
        }
    }

    /// Whether the thread has still to raise an exception that was set on it. `None`: it isn't
    /// known. The caller is attached to the context's interpreter.
    pub(super) fn is_exception_pending(&self, target: Target) -> Option<bool> {
        if cfg!(Py_GIL_DISABLED) {
            return None;
        }
        let state = self.state_of(target);
        if state.is_null() {
            return Some(false);
        }
        // SAFETY: attached, as the caller vouches. The thread removes its state from here under the
        // GIL that this thread has, before it ends it.
        unsafe { async_exc::is_pending(state) }
    }

    /// The caller is attached to the context's interpreter.
    fn is_in_importlib(&self, target: Target) -> bool {
        let state = self.state_of(target);
        // SAFETY: attached, as the caller vouches. The thread removes its state from here under the
        // GIL that this thread has, before it ends it.
        !state.is_null() && unsafe { lock_recovery::is_in_importlib(Attached::assume(), state) }
    }
}

impl<J: Job> Interruptible for Context<J> {
    fn mark_and_check(&self, target: Target) -> bool {
        match target {
            Target::Job(seq) => self.mailbox.mark_interrupt(seq),
            Target::Direct(id) => self.mark_direct(id),
            Target::Housekeeping => self.housekeeping.any_interrupted(),
        }
    }

    fn deliver(&self, target: Target) -> bool {
        if self.is_in_importlib(target) {
            // It is tried again soon; a thread that waits there wouldn't raise it anyway.
            return false;
        }
        // SAFETY: as the caller vouches.
        let py = unsafe { Attached::assume() };
        if let Target::Direct(id) = target {
            self.direct.interrupt(py, id);
            async_exc::clear_flag_for_tracers(py);
            return true;
        }
        let set = || {
            self.interrupt_pending.store(true, Ordering::Relaxed);
            async_exc::set(py, self.ident.load(Ordering::Acquire));
        };
        let is_set = match target {
            Target::Job(seq) => self.mailbox.interrupt(seq, set),
            Target::Direct(_) => unreachable!("dealt with above"),
            Target::Housekeeping => self.mailbox.interrupt_housekeeping(|is_innermost| {
                self.housekeeping.deliver(is_innermost, set)
            }),
        };
        if is_set {
            async_exc::clear_flag_for_tracers(py);
        }
        true
    }

    fn has_to_raise(&self, target: Target) -> bool {
        let pending = self.is_exception_pending(target);
        let innermost = self.mailbox.current();
        match target {
            Target::Direct(id) => self.direct.current() == Some(id) && pending != Some(false),
            Target::Job(seq) if innermost != Some(seq) => self.mailbox.has_to_raise(seq),
            Target::Job(_) if pending == Some(false) => {
                self.mailbox.note_raised();
                false
            }
            Target::Housekeeping if innermost.is_some() => self.housekeeping.has_to_raise(),
            Target::Housekeeping if pending == Some(false) => {
                self.housekeeping.note_raised();
                self.housekeeping.has_to_raise()
            }
            _ => pending == Some(true),
        }
    }

    fn grace(&self) -> Option<Duration> {
        self.config.grace()
    }

    fn is_closing(&self) -> bool {
        self.mailbox.is_closed()
    }

    fn with_attached(&self, work: &mut dyn FnMut()) {
        let _user = self.gil_users().enter();
        let gate = self.interpreter_gate.lock();
        if let Some(interpreter) = *gate {
            // SAFETY: the open gate keeps the interpreter alive; this is a thread without a state.
            unsafe { interpreter::with_attached(interpreter, work) };
        }
    }

    fn gil(&self) -> Gil {
        if self.config.mode.shares_gil() { Gil::Main } else { Gil::Own(self.id) }
    }

    fn is_in_main(&self) -> bool {
        self.config.mode == Mode::Worker
    }
}

impl<J: Job> WatchTarget for Context<J> {
    fn is_busy(&self) -> bool {
        self.mailbox.is_busy() || self.housekeeping.is_running() || self.direct.is_running()
    }

    fn check(self: Arc<Self>) {
        for (seq, job) in self.mailbox.running() {
            if job.should_stop_for_dead_caller(self.config.on_caller_down)
                && job.state().cancel() == Cancel::Running
            {
                self.counters.cancelled.fetch_add(1, Ordering::Relaxed);
                self.stop_running(seq);
            }
        }
        self.check_direct();
        self.interrupt_overdue_step();
        if let Some(grace) = self.config.stuck_after
            && self.mailbox.current().is_none()
            // A job that waits, in which it is nested, can't go on either.
            && self.housekeeping.interrupt_if_blocking(grace, self.mailbox.is_busy())
        {
            self.interrupt_now(Target::Housekeeping);
        }
        if self.check_stuck() {
            self.report_stuck();
        }
    }

    fn shares_gil(&self) -> bool {
        self.config.mode.shares_gil()
    }
}

impl<J: Job> GilHolder for Context<J> {
    fn busy_for(&self) -> Option<Duration> {
        self.job_age().or_else(|| self.housekeeping.running_for())
    }

    fn interpreter_number(&self) -> i64 {
        self.interpreter_number()
    }

    fn with_attached(&self, work: &mut dyn FnMut()) {
        Interruptible::with_attached(self, work);
    }
}
