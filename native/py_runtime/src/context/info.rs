//! Queries: what a context is, and what it is doing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Context;
use super::job::Job;
use super::quarantine::Quarantine;
use super::report::JobCounts;
use crate::gil;
use crate::interpreter::mode::Mode;

impl<J: Job> Context<J> {
    /// The context's number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The owner's number for it.
    pub fn owner_id(&self) -> u64 {
        self.config.owner_id
    }

    /// Its mode.
    pub fn mode(&self) -> Mode {
        self.config.mode
    }

    /// The bound of its queue.
    pub fn max_queue(&self) -> usize {
        self.config.max_queue
    }

    /// How long callers may wait for capacity in a full queue.
    pub fn overload_wait(&self) -> Option<Duration> {
        self.config.overload_wait
    }

    /// Jobs waiting.
    pub fn waiting(&self) -> usize {
        self.mailbox.waiting()
    }

    /// How many jobs wait or run, as a hint that takes no lock. See
    /// [`Mailbox::load`](crate::sync::mailbox::Mailbox::load).
    pub fn load(&self) -> usize {
        self.mailbox.load() + usize::from(self.direct.is_running())
    }

    /// How long a direct run may take.
    pub fn direct_limit(&self) -> Duration {
        self.config.direct_limit
    }

    /// Why it was killed or replaced, if it was.
    pub fn exit_reason(&self) -> Option<J::ExitReason> {
        self.exit_reason.get().cloned()
    }

    /// How many jobs were run directly, and how many were to be and went to the queue.
    pub fn direct_counts(&self) -> (u64, u64) {
        self.direct.counts()
    }

    /// Whether another context has taken its place, and its jobs.
    pub fn is_replaced(&self) -> bool {
        self.successor().is_some()
    }

    /// Its former threads that are stuck.
    pub fn abandoned_threads(&self) -> usize {
        self.counters.abandoned_threads.load(Ordering::Relaxed)
    }

    /// How long an interrupted job may clean up, see [`Config::grace`](super::Config::grace).
    pub fn grace(&self) -> Option<Duration> {
        self.config.grace()
    }

    /// Where stuck threads are counted.
    pub fn quarantine(&self) -> &Quarantine {
        &self.config.quarantine
    }

    /// Whether there seems to be something to do next: a hint, for a job that can stop early.
    pub fn has_work(&self) -> bool {
        !self.mailbox.looks_empty()
    }

    /// Whether other jobs wait, or other contexts for the GIL that they share with it: a hint, for
    /// a job that can stop early.
    pub fn is_waited_for(&self) -> bool {
        self.has_work() || (self.config.mode.shares_gil() && gil::has_waiters())
    }

    /// Whether it takes no more jobs.
    pub fn is_closed(&self) -> bool {
        self.mailbox.is_closed()
    }

    /// How long the current job or housekeeping has been running. `None` once the job has been
    /// answered: to its caller it is over then.
    pub fn busy_for(&self) -> Option<Duration> {
        if self.direct.is_running() {
            return self.job_age();
        }
        if self.mailbox.current().is_none() {
            return self.housekeeping.running_for();
        }
        match self.mailbox.running().last() {
            Some((_, job)) if job.state().is_replying() => None,
            _ => self.job_age(),
        }
    }

    /// How long the innermost job has been running.
    pub(super) fn job_age(&self) -> Option<Duration> {
        let since = self.busy_since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.born.elapsed().saturating_sub(Duration::from_micros(since)))
    }

    /// The OS's id of the thread, 0 before it runs.
    pub fn native_thread_id(&self) -> u64 {
        self.native_id.load(Ordering::Relaxed)
    }

    /// CPython's number of the interpreter (0 is the main one), -1 before it exists.
    pub fn interpreter_number(&self) -> i64 {
        self.interpreter_number.load(Ordering::Relaxed)
    }

    /// How its jobs ended.
    pub fn counts(&self) -> JobCounts {
        self.counters.read()
    }
}
