//! A job that waits: its thread serves the mailbox meanwhile.
//!
//! What the job waits for may itself need this context: an Erlang function that Python has called
//! may call Python again, directly or through any other process, so every waiting job may be the
//! one that lets it go on. It would never run if the thread just slept. So the thread runs jobs
//! *on top* of the one that waits. That has a price: a wait that is over can't go on before the job
//! on top of it has ended. Therefore a job that is known to be needed ([`Wait::needs`]) runs at
//! once, and others only when the wait has lasted a little; the deeper the stack already is, the
//! longer that takes, so that callers who have nothing to do with each other don't pile up to the
//! limit, where the next one to wait is refused.

use std::time::{Duration, Instant};

use super::aside::Aside;
use crate::job::{Job, Scope};
use crate::mailbox::{Meanwhile, Seq};

/// How long a wait lasts before jobs run that it may have nothing to do with. An answer that takes
/// no longer finds its thread at hand.
const PATIENCE: Duration = Duration::from_micros(50);
/// Once half of the levels are taken, for each level beyond: for jobs that have come since the wait
/// began, which may well be what it waits for, and for those that were there before.
const DEEP_PATIENCE: Duration = Duration::from_millis(20);
const DEEP_PATIENCE_OLDER: Duration = Duration::from_secs(1);

/// Something that a job waits for.
pub trait Wait<J> {
    /// Whether it has happened. Whoever makes it happen calls [`Context::nudge_waiting`] after.
    ///
    /// [`Context::nudge_waiting`]: super::Context::nudge_waiting
    fn is_over(&self) -> bool;

    /// Whether it is known to need this job to be run.
    fn needs(&self, job: &J) -> bool;
}

/// Why a wait ended without what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// The job was struck: it should raise `KeyboardInterrupt`.
    Struck,
    /// There are so many jobs waiting on the thread already, each on top of the one before.
    TooDeep(u32),
}

impl<J: Job> Scope<'_, J> {
    /// Waits, at most as the `limit`th on this thread.
    pub fn wait(&self, wait: &impl Wait<J>, limit: u32) -> Result<(), Interrupted> {
        self.check_depth(limit)?;
        let mailbox = &self.context.mailbox;
        let level = Level::enter(self, limit);
        let newer = level.is_deep().then(|| mailbox.next_seq());
        let mut since = Instant::now();
        loop {
            if wait.is_over() {
                return Ok(());
            }
            let waited = since.elapsed();
            let may_run = |seq, job: &J| wait.needs(job) || level.is_due(seq, waited, newer);
            match mailbox.meanwhile(may_run) {
                Meanwhile::Struck => return Err(self.struck()),
                Meanwhile::Run(_, job) => {
                    self.run_on_top(job);
                    // This job's turn to be interrupted, if that was asked for meanwhile.
                    if mailbox.take_strike() {
                        return Err(self.struck());
                    }
                    since = Instant::now();
                }
                Meanwhile::Release(released) => {
                    self.context.let_go(self.desk.interpreter, self.desk.local, released);
                }
                Meanwhile::Nothing { as_of, jobs } => {
                    let at_most = jobs.then(|| level.until_due(waited));
                    self.sleep(wait, as_of, at_most);
                }
            }
        }
    }

    /// Whether [`Scope::wait`] would be allowed.
    pub fn check_depth(&self, limit: u32) -> Result<(), Interrupted> {
        let waiting = self.desk.waiting.get();
        if waiting < limit { Ok(()) } else { Err(Interrupted::TooDeep(waiting)) }
    }

    /// Whether the job was struck and hasn't raised `KeyboardInterrupt` for it yet.
    pub fn is_struck(&self) -> bool {
        self.context.mailbox.is_struck()
    }

    /// Does something without the GIL that touches nothing of Python and doesn't panic.
    pub fn detached<T>(&self, work: impl FnOnce() -> T) -> T {
        self.desk.interpreter.detached(work)
    }

    fn sleep(&self, wait: &impl Wait<J>, as_of: usize, at_most: Option<Duration>) {
        let mailbox = &self.context.mailbox;
        self.detached(|| {
            self.desk.spin.borrow_mut().wait_until(
                || wait.is_over() || mailbox.has_news(as_of),
                || mailbox.park_for_news(as_of, at_most),
            );
        });
    }

    fn run_on_top(&self, job: J) {
        let aside = Aside::put(self.at);
        self.context.run(job, self.desk);
        aside.restore(self.at);
    }

    /// Takes back the blow, which would hit the job after the exception that it raises itself.
    fn struck(&self) -> Interrupted {
        self.context.parry(self.at);
        Interrupted::Struck
    }
}

/// One job's wait, counted among those of its thread.
struct Level<'a> {
    waiting: &'a std::cell::Cell<u32>,
    /// How long it has to last until jobs are due: those that have come since, and older ones.
    patience: (Duration, Duration),
}

impl<'a> Level<'a> {
    fn enter<J: Job>(scope: &'a Scope<'_, J>, limit: u32) -> Self {
        let waiting = &scope.desk.waiting;
        waiting.set(waiting.get() + 1);
        let patience = match waiting.get().saturating_sub(limit / 2) {
            0 => (PATIENCE, PATIENCE),
            beyond => (DEEP_PATIENCE * beyond, DEEP_PATIENCE_OLDER * beyond),
        };
        Level { waiting, patience }
    }

    fn is_deep(&self) -> bool {
        self.patience.0 != self.patience.1
    }

    /// Whether job `seq` may run after so long a wait. `newer`: the first number that is not older.
    fn is_due(&self, seq: Seq, waited: Duration, newer: Option<Seq>) -> bool {
        let is_newer = newer.is_some_and(|newer| seq >= newer);
        waited >= if is_newer { self.patience.0 } else { self.patience.1 }
    }

    /// How long until more jobs are due.
    fn until_due(&self, waited: Duration) -> Duration {
        let next = if waited < self.patience.0 { self.patience.0 } else { self.patience.1 };
        next.saturating_sub(waited)
    }
}

impl Drop for Level<'_> {
    fn drop(&mut self) {
        self.waiting.set(self.waiting.get() - 1);
    }
}
