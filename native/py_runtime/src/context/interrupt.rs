//! Stopping what a context's thread runs, from other threads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Context;
use crate::context::job::Job;
use crate::context::watchdog::Watched;
use crate::cpython::async_exc;
use crate::cpython::object::Attached;
use crate::gil::drop_request::GilHolder;
use crate::interpreter;
use crate::interpreter::mode::Mode;
use crate::interrupt::interrupter::{self, Gil, Target, Victim};
use crate::interrupt::lock_recovery;
use crate::sync::reply_state::Cancel;

impl<J: Job> Context<J> {
    /// Interrupts the target until it ends, on another thread.
    pub(super) fn interrupt_in_background(self: &Arc<Self>, target: Target) {
        let victim: Arc<dyn Victim> = Arc::clone(self) as _;
        interrupter::strike(victim, target, false);
    }

    /// As above, and once more now if it has been interrupted already.
    pub(super) fn interrupt_now(self: &Arc<Self>, target: Target) {
        let victim: Arc<dyn Victim> = Arc::clone(self) as _;
        interrupter::strike(victim, target, true);
    }

    /// Something that was interrupted has ended.
    pub(super) fn forget_interrupts(&self) {
        interrupter::ended(std::ptr::from_ref(self).cast(), Victim::gil(self));
    }

    /// Whether the thread has still to raise an exception that was set on it. `None`: it isn't known. The
    /// caller is attached to the context's interpreter.
    fn is_exception_pending(&self) -> Option<bool> {
        if cfg!(Py_GIL_DISABLED) {
            return None;
        }
        let state = self.state.load(Ordering::Relaxed);
        if state.is_null() {
            return Some(false);
        }
        // SAFETY: attached, says the caller. The thread takes its state away under the GIL that
        // this one has, before it ends it.
        unsafe { async_exc::is_pending(state) }
    }

    /// The caller is attached to the context's interpreter.
    fn is_among_import_locks(&self) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        // SAFETY: attached, says the caller. The thread takes its state away under the GIL that
        // this one has, before it ends it.
        !state.is_null() && unsafe { lock_recovery::is_among_them(Attached::assume(), state) }
    }
}

impl<J: Job> Victim for Context<J> {
    fn aim(&self, target: Target) -> bool {
        match target {
            Target::Job(seq) => self.mailbox.aim(seq),
            Target::Chore => self.chores.aim(),
        }
    }

    fn strike(&self, target: Target) -> bool {
        if self.is_among_import_locks() {
            // It is tried again soon; a thread that waits there wouldn't feel it anyway.
            return false;
        }
        // SAFETY: the caller says so.
        let at = unsafe { Attached::assume() };
        let blow = || {
            self.hit.store(true, Ordering::Relaxed);
            async_exc::set(at, self.ident.load(Ordering::Acquire));
        };
        let struck = match target {
            Target::Job(seq) => self.mailbox.strike(seq, blow),
            Target::Chore => self.mailbox.strike_other(|on_top| self.chores.strike(on_top, blow)),
        };
        if struck {
            async_exc::spare_tracers(at);
        }
        true
    }

    fn has_to_raise(&self, target: Target) -> bool {
        let pending = self.is_exception_pending();
        let innermost = self.mailbox.innermost();
        match target {
            Target::Job(seq) if innermost != Some(seq) => self.mailbox.has_to_raise(seq),
            Target::Job(_) if pending == Some(false) => {
                self.mailbox.note_raised();
                false
            }
            Target::Chore if innermost.is_some() => self.chores.has_to_raise(),
            Target::Chore if pending == Some(false) => {
                self.chores.note_raised();
                self.chores.has_to_raise()
            }
            _ => pending == Some(true),
        }
    }

    fn grace(&self) -> Option<Duration> {
        self.config.grace()
    }

    fn is_to_end(&self) -> bool {
        self.mailbox.is_closed()
    }

    fn attached(&self, blow: &mut dyn FnMut()) {
        let gate = self.gate.lock();
        if let Some(interpreter) = *gate {
            // SAFETY: the open gate keeps the interpreter alive; this is a thread without a state.
            unsafe { interpreter::visit(interpreter, blow) };
        }
    }

    fn gil(&self) -> Gil {
        if self.config.mode.shares_gil() { Gil::Main } else { Gil::Own(self.config.id) }
    }

    fn is_in_main(&self) -> bool {
        self.config.mode == Mode::Worker
    }
}

impl<J: Job> Watched for Context<J> {
    fn is_busy(&self) -> bool {
        self.mailbox.is_busy() || self.chores.is_running()
    }

    fn look_after(self: Arc<Self>) {
        for (seq, job) in self.mailbox.running() {
            if job.is_orphan(self.config.orphans) && job.state().cancel() == Cancel::Running {
                self.counters.cancelled.fetch_add(1, Ordering::Relaxed);
                self.interrupt_in_background(Target::Job(seq));
            }
        }
        if let Some(grace) = self.config.stuck_after
            && self.mailbox.innermost().is_none()
            // A job that waits below it can't go on either.
            && self.chores.stop_overdue(grace, self.mailbox.is_busy())
        {
            self.interrupt_now(Target::Chore);
        }
        if self.is_stuck() {
            self.note_stuck();
        }
    }

    fn shares_gil(&self) -> bool {
        self.config.mode.shares_gil()
    }
}

impl<J: Job> GilHolder for Context<J> {
    fn busy_for(&self) -> Option<Duration> {
        self.running_for().or_else(|| self.chores.running_for())
    }

    fn interpreter_number(&self) -> i64 {
        self.interpreter_number()
    }

    fn visit(&self, work: &mut dyn FnMut()) {
        self.attached(work);
    }
}
