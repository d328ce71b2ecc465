//! Direct runs: a caller runs its job itself, on its own thread, while the context's thread has
//! nothing to do.
//!
//! No thread has to wake for that, so it takes a fraction of the time. The caller's thread is a
//! scheduler of the Erlang VM, which must never wait: not for the context's thread, not for another
//! caller, not for the GIL. So a direct run begins only if all of these are free, and
//! [`Context::run_direct`] refuses otherwise; then the job goes to the queue. Whether the job is
//! short enough is the caller's business.
//!
//! The holder of the context's lock ([`crate::sync::owner_lock`]) may use its namespace and its
//! [`Job::Local`]. They belong to the interpreter, not to the thread. The caller's thread attaches
//! with a state of its own, which it keeps. Nothing is queued when a direct run begins, so jobs of
//! one caller keep their order.
//!
//! There are direct runs in interpreters that never end: the main one, and those with a GIL of
//! their own where they are reused. Schedulers never end either: their states are never deleted.

mod lending;
mod run;
mod state;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Context;
use super::job::{Job, Outcome};
use crate::cpython::object::{Attached, Object};
use crate::interpreter::mode::Mode;
use crate::interpreter::reset::REUSES_INTERPRETERS;
use crate::interrupt::interrupter::Target;
use crate::sync::large_stack;
use crate::sync::wakeup;
use run::{AttachedRun, Borrowed};
pub(super) use state::DirectState;
use state::Status;

/// Whether any job is ever run directly. Until then no thread lends its context.
static IN_USE: AtomicBool = AtomicBool::new(false);

/// From now on contexts lend themselves while they have nothing to do.
pub fn enable() {
    IN_USE.store(true, Ordering::Relaxed);
}

/// Whether contexts of this mode lend themselves.
#[must_use]
pub fn is_supported(mode: Mode) -> bool {
    let in_mode = match mode {
        Mode::Worker => true,
        Mode::SubInterpreter => false,
        // Interpreters that are ended can't have states of schedulers.
        Mode::OwnGil => REUSES_INTERPRETERS,
    };
    in_mode && !cfg!(Py_GIL_DISABLED)
}

/// Whether any job was ever to run directly.
pub(super) fn is_in_use() -> bool {
    IN_USE.load(Ordering::Relaxed)
}

/// How a direct run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectEnd {
    /// By itself.
    Done,
    /// It was interrupted on request. It may have a result all the same.
    Interrupted,
    /// Its time was up.
    TimedOut,
    /// Its context was killed or replaced.
    ContextDied,
}

/// A direct run that has ended.
#[derive(Debug)]
pub struct DirectRun<T> {
    /// What the work returned.
    pub value: T,
    /// How it ended.
    pub end: DirectEnd,
    /// How long it took.
    pub took: Duration,
}

/// What a direct run finds.
#[allow(missing_debug_implementations, reason = "`Local` needs none")]
pub struct DirectScope<'a, J: Job> {
    /// Proof of being attached.
    pub py: Attached<'a>,
    /// The context, on whose behalf it runs.
    pub context: &'a Arc<Context<J>>,
    /// The context's own namespace, a `dict`.
    pub namespace: &'a Object,
    /// See [`Job::Local`].
    pub local: &'a J::Local,
}

impl<J: Job> Context<J> {
    /// Runs `work` on this thread, attached to the context's interpreter. `None`: something isn't
    /// free, and nothing has been done; or `work` declined by `None`. After `timeout` the work is
    /// interrupted. Never waits for more than some microseconds.
    ///
    /// The thread is one that never ends, and isn't attached to any interpreter.
    pub fn run_direct<T>(
        self: &Arc<Self>,
        timeout: Option<Duration>,
        work: impl FnOnce(&DirectScope<'_, J>) -> Option<(T, Outcome)>,
    ) -> Option<DirectRun<T>> {
        let run = self.try_run_direct(timeout, work);
        if run.is_none() {
            self.direct.refused.fetch_add(1, Ordering::Relaxed);
        }
        run
    }

    fn try_run_direct<T>(
        self: &Arc<Self>,
        timeout: Option<Duration>,
        work: impl FnOnce(&DirectScope<'_, J>) -> Option<(T, Outcome)>,
    ) -> Option<DirectRun<T>> {
        if !self.mailbox.looks_empty() {
            return None;
        }
        let borrowed = Borrowed::new(self)?;
        // What was there before the lock was free has been done. What has come since goes first.
        if !self.mailbox.looks_empty() {
            return None;
        }
        let _user = self.gil_users().try_enter_direct()?;
        let state = borrowed.thread_state()?;
        let began = self.born.elapsed();
        borrowed.begin(began, timeout, state);
        wakeup::notify_borrowed();
        let done = large_stack::run(|| {
            // SAFETY: the state is this thread's, which isn't attached; it holds the lock.
            let attached = unsafe { AttachedRun::new(self, state) };
            let scope = attached.scope();
            let done = work(&scope);
            self.wake_for_event_loop(scope.py, scope.local);
            (done, attached.end())
        })?;
        let (done, end) = done.unwrap_or_else(|panic| resume_unwind(panic));
        let took = self.born.elapsed().saturating_sub(began);
        let (value, outcome) = done?;
        self.count(match end {
            DirectEnd::Done => outcome,
            DirectEnd::Interrupted if outcome == Outcome::Done => outcome,
            DirectEnd::Interrupted => Outcome::Interrupted,
            DirectEnd::TimedOut | DirectEnd::ContextDied => Outcome::Unwanted,
        });
        borrowed.count();
        Some(DirectRun { value, end, took })
    }

    /// Interrupts the direct run that goes on. `false`: there is none, or it ends already.
    pub(super) fn interrupt_direct(self: &Arc<Self>) -> bool {
        self.stop_direct(self.direct.current(), Status::Interrupted)
    }

    /// The context dies: so does the direct run that goes on.
    pub(super) fn kill_direct(self: &Arc<Self>, why: J::ExitReason) {
        // The first reason counts.
        let _ = self.exit_reason.set(why);
        let mut stopped = None;
        // Another one may have begun meanwhile.
        while let Some(id) = self.direct.current()
            && stopped != Some(id)
        {
            self.stop_direct(Some(id), Status::ContextDied);
            stopped = Some(id);
        }
    }

    /// Stops run `id`. `false`: it ends already, or there is none.
    fn stop_direct(self: &Arc<Self>, id: Option<u64>, status: Status) -> bool {
        let stopped = id.filter(|id| self.direct.decide(*id, status));
        if let Some(id) = stopped {
            self.interrupt_now(Target::Direct(id));
        }
        stopped.is_some()
    }

    /// The watchdog checks a direct run: it is stopped when its time is up. One without a timeout
    /// holds a scheduler for `stuck_after` at most.
    pub(super) fn check_direct(self: &Arc<Self>) {
        // First of all: what is read next is of this run, or of a later one, which isn't stopped.
        let Some(id) = self.direct.current() else { return };
        let deadline = self.direct.deadline.load(Ordering::Relaxed);
        let is_late = match self.config.stuck_after {
            _ if deadline > 0 => self.micros() >= deadline,
            Some(limit) => self.job_age().is_some_and(|age| age > limit),
            None => false,
        };
        let status = if deadline > 0 { Status::TimedOut } else { Status::Interrupted };
        if is_late && self.stop_direct(Some(id), status) && status == Status::TimedOut {
            self.counters.timed_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes that run `id` is to be interrupted. Whether it goes on.
    pub(super) fn mark_direct(&self, id: u64) -> bool {
        let goes_on = self.direct.current() == Some(id);
        if goes_on {
            let _ = self.direct.interrupted_at.compare_exchange(
                0,
                self.micros() + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        goes_on
    }

    /// How long ago the direct run that goes on was first to be interrupted.
    pub(super) fn direct_interrupted_for(&self) -> Option<Duration> {
        self.direct.current()?;
        let since = self.direct.interrupted_at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_micros(self.micros().saturating_sub(since)))
    }

    /// Microseconds since the context's birth.
    fn micros(&self) -> u64 {
        micros(self.born.elapsed())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX - 1)
}
