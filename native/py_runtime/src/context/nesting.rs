//! A job that waits: its thread serves the mailbox meanwhile.
//!
//! What the job waits for may itself need this context: an Erlang function that Python has called
//! may call Python again, directly or through any other process, so every waiting job may be the
//! one that lets it go on. It would never run if the thread just slept. So the thread runs jobs
//! *on top* of the one that waits. That has a price: a wait that is over can't go on before the job
//! on top of it has ended. Therefore a job that is known to be needed ([`Wait::needs`]) runs at
//! once, and others only when the wait has lasted a little; the deeper the stack already is, the
//! longer that takes, so that callers who have nothing to do with each other don't pile up to the
//! limit, where the next one to wait is refused. What does the same as the job that waits would probably
//! wait too, and comes after what doesn't.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::loop_state::Desk;
use super::saved_state::{self, Aside};
use super::{Context, Release};
use crate::context::housekeeping::Chore;
use crate::context::job::{Job, Scope};
use crate::cpython::async_exc;
use crate::sync::mailbox::{Kinship, Meanwhile, Others};

/// How long a wait lasts before jobs run that it may have nothing to do with. An answer that takes
/// no longer finds its thread at hand.
const PATIENCE: Duration = Duration::from_micros(50);
/// Once half of the levels are taken: times the cube of the levels beyond. So little at first that
/// what is needed isn't held up much, so much in the end that the limit is out of reach for what
/// isn't.
const DEEP_PATIENCE: Duration = Duration::from_millis(1);

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
        let level = Level::enter(self.desk, limit);
        self.note_raised();
        let mut since = Instant::now();
        loop {
            if wait.is_over() {
                return Ok(());
            }
            if self.desk.releasing.get() && self.take_strike() {
                return Err(self.struck());
            }
            let waited = since.elapsed();
            match mailbox.meanwhile(|job| wait.needs(job), level.others(waited)) {
                Meanwhile::Struck => return Err(self.struck()),
                Meanwhile::Run(_, job) => {
                    self.run_on_top(job);
                    // This job's turn to be interrupted, if that was asked for meanwhile.
                    if self.take_strike() {
                        return Err(self.struck());
                    }
                    since = Instant::now();
                }
                Meanwhile::Release(released) => {
                    self.let_go_on_top(released);
                    if self.take_strike() {
                        return Err(self.struck());
                    }
                }
                Meanwhile::Nothing { as_of, jobs } => {
                    let at_most = jobs.then(|| level.patience.saturating_sub(waited));
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

    /// Whether the job, or the finalizer on top of it, was struck and hasn't raised
    /// `KeyboardInterrupt` for it yet.
    pub fn is_struck(&self) -> bool {
        let Context { mailbox, chores, .. } = &**self.context;
        if self.desk.releasing.get() { chores.is_struck() } else { mailbox.is_struck() }
    }

    /// Notes that the interrupt of what runs has been raised, if it has: code that cleans up after it may
    /// wait.
    pub fn note_raised(&self) {
        let Context { mailbox, chores, hit, .. } = &**self.context;
        // SAFETY: attached, and the state is this thread's.
        let is_pending = || unsafe { async_exc::is_pending(self.desk.interpreter.state()) };
        if !hit.load(Ordering::Relaxed) || is_pending() != Some(false) {
            return;
        }
        if self.desk.releasing.get() {
            chores.note_raised();
        } else {
            mailbox.note_raised();
        }
    }

    fn take_strike(&self) -> bool {
        let Context { mailbox, chores, .. } = &**self.context;
        if self.desk.releasing.get() { chores.take_strike() } else { mailbox.take_strike() }
    }

    /// Does something without the GIL that touches nothing of Python.
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
        let below = self.desk.releasing.replace(false);
        self.context.run(job, self.desk);
        self.desk.releasing.set(below);
        if self.desk.struck.get() {
            saved_state::forget_running(self.at);
        }
        aside.restore(self.at);
    }

    fn let_go_on_top(&self, released: Vec<Release<J::Notice>>) {
        let _on_top = Releasing::begin(self);
        self.context.let_go(self.desk.interpreter, self.desk.local, released);
    }

    /// Takes back the blow, which would hit the job after the exception that it raises itself. An earlier
    /// one may have hit it.
    fn struck(&self) -> Interrupted {
        self.context.parry(self.at);
        self.desk.struck.set(true);
        Interrupted::Struck
    }
}

/// Finalizers run on top of what waits, and are looked after by themselves. Also after a panic the wait
/// goes on as it was.
struct Releasing<'s, 'a, J: Job> {
    scope: &'s Scope<'a, J>,
    below: bool,
}

impl<'s, 'a, J: Job> Releasing<'s, 'a, J> {
    fn begin(scope: &'s Scope<'a, J>) -> Self {
        scope.context.begin(Chore::Release);
        Releasing { scope, below: scope.desk.releasing.replace(true) }
    }
}

impl<J: Job> Drop for Releasing<'_, '_, J> {
    fn drop(&mut self) {
        let Scope { at, context, desk, .. } = self.scope;
        if context.chores.end() {
            context.parry(*at);
            context.forget_interrupts();
            // What the job that waits has locked it still needs.
            desk.struck.set(true);
        }
        context.mailbox.end_release();
        desk.releasing.set(self.below);
    }
}

/// One job's wait, counted among those of its thread.
struct Level<'a, L> {
    desk: &'a Desk<'a, L>,
    is_deep: bool,
    /// How long it has to last until jobs run that aren't known to be needed.
    patience: Duration,
}

impl<'a, L> Level<'a, L> {
    fn enter(desk: &'a Desk<'a, L>, limit: u32) -> Self {
        let waiting = desk.waiting.get() + 1;
        desk.waiting.set(waiting);
        let beyond = waiting.saturating_sub(limit / 2);
        let is_deep = beyond > 0;
        let patience = if is_deep { DEEP_PATIENCE * beyond.pow(3) } else { PATIENCE };
        Level { desk, is_deep, patience }
    }

    /// Which jobs may run after so long a wait although they may not be needed. In the deep the
    /// newest first: what is needed has come because others wait, and who has been waiting for long
    /// is more probably somebody who has nothing to do with it.
    fn others<J: Job>(&self, waited: Duration) -> Others<J> {
        let kinship = Kinship { same_caller: J::is_same_caller, same_work: J::is_same_work };
        match (waited >= self.patience, self.is_deep) {
            (false, _) => Others::None,
            (true, false) => Others::OldestFirst(kinship),
            (true, true) => Others::NewestFirst(kinship),
        }
    }
}

impl<L> Drop for Level<'_, L> {
    fn drop(&mut self) {
        self.desk.waiting.set(self.desk.waiting.get() - 1);
    }
}
