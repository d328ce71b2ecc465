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

use super::loop_state::LoopState;
use super::saved_state::{self, SavedState};
use super::{Context, Control};
use crate::context::housekeeping::Housekeeping;
use crate::context::job::{Job, Scope};
use crate::cpython::async_exc;
use crate::sync::mailbox::{JobRelation, NestedNext, NestedPolicy};

/// How long a wait lasts before jobs run that it may have nothing to do with. An answer that takes
/// no longer finds its thread at hand.
const NESTING_DELAY: Duration = Duration::from_micros(50);
/// What each level beyond half of the limit adds, times the cube of these levels. So little at first that
/// a job which is needed isn't held up much.
const NESTING_DELAY_STEP: Duration = Duration::from_millis(1);
/// And no more than this: a job that is needed, and isn't known to be, waits as long.
const MAX_NESTING_DELAY: Duration = Duration::from_millis(50);

/// Something that a job waits for.
pub trait Wait<J> {
    /// Whether it has happened. Whoever makes it happen calls [`Context::wake_waiting_job`] after.
    ///
    /// [`Context::wake_waiting_job`]: super::Context::wake_waiting_job
    fn is_over(&self) -> bool;

    /// Whether it is known to need this job to be run.
    fn needs(&self, job: &J) -> bool;
}

/// Why a wait ended without what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// The job was struck: it should raise `KeyboardInterrupt`.
    Interrupted,
    /// There are so many jobs waiting on the thread already, each on top of the one before.
    TooDeep(u32),
}

impl<J: Job> Scope<'_, J> {
    /// Waits, at most as the `limit`th on this thread.
    pub fn wait(&self, wait: &impl Wait<J>, limit: u32) -> Result<(), WaitError> {
        self.check_depth(limit)?;
        let mailbox = &self.context.mailbox;
        let level = NestingLevel::enter(self.loop_state, limit);
        self.note_raised();
        let mut since = Instant::now();
        loop {
            if wait.is_over() {
                return Ok(());
            }
            if self.loop_state.in_finalizer.get() && self.take_interrupt() {
                return Err(self.interrupted());
            }
            let waited = since.elapsed();
            match mailbox.next_nested(|job| wait.needs(job), level.policy(waited)) {
                NestedNext::Interrupted => return Err(self.interrupted()),
                NestedNext::Run(_, job) => {
                    self.run_nested(job);
                    // This job's turn to be interrupted, if that was asked for meanwhile.
                    if self.take_interrupt() {
                        return Err(self.interrupted());
                    }
                    since = Instant::now();
                }
                NestedNext::Control(released) => {
                    self.run_nested_finalizers(released);
                    if self.take_interrupt() {
                        return Err(self.interrupted());
                    }
                }
                NestedNext::Nothing { as_of, jobs } => {
                    let max = jobs.then(|| level.delay.saturating_sub(waited));
                    self.sleep(wait, as_of, max);
                }
            }
        }
    }

    /// Whether [`Scope::wait`] would be allowed.
    pub fn check_depth(&self, limit: u32) -> Result<(), WaitError> {
        let waiting = self.loop_state.nesting.get();
        if waiting < limit { Ok(()) } else { Err(WaitError::TooDeep(waiting)) }
    }

    /// Whether the job, or the finalizer on top of it, was struck and hasn't raised
    /// `KeyboardInterrupt` for it yet.
    pub fn is_interrupted(&self) -> bool {
        let Context { mailbox, housekeeping, .. } = &**self.context;
        if self.loop_state.in_finalizer.get() {
            housekeeping.is_interrupted()
        } else {
            mailbox.is_interrupted()
        }
    }

    /// Notes that the interrupt of what runs has been raised, if it has: code that cleans up after it may
    /// wait.
    pub fn note_raised(&self) {
        let Context { mailbox, housekeeping, interrupt_pending, .. } = &**self.context;
        // SAFETY: attached, and the state is this thread's.
        let is_pending = || unsafe { async_exc::is_pending(self.loop_state.interpreter.state()) };
        if !interrupt_pending.load(Ordering::Relaxed) || is_pending() != Some(false) {
            return;
        }
        if self.loop_state.in_finalizer.get() {
            housekeeping.note_raised();
        } else {
            mailbox.note_raised();
        }
    }

    fn take_interrupt(&self) -> bool {
        let Context { mailbox, housekeeping, .. } = &**self.context;
        if self.loop_state.in_finalizer.get() {
            housekeeping.take_interrupt()
        } else {
            mailbox.take_interrupt()
        }
    }

    /// Does something without the GIL that touches nothing of Python.
    pub fn detached<T>(&self, work: impl FnOnce() -> T) -> T {
        self.loop_state.interpreter.detached(work)
    }

    fn sleep(&self, wait: &impl Wait<J>, as_of: usize, max: Option<Duration>) {
        let mailbox = &self.context.mailbox;
        self.detached(|| {
            self.loop_state.spin.borrow_mut().wait_until(
                || wait.is_over() || mailbox.has_event_since(as_of),
                || mailbox.park_until_event(as_of, max),
            );
        });
    }

    fn run_nested(&self, job: J) {
        let saved = SavedState::save(self.py);
        let outer = self.loop_state.in_finalizer.replace(false);
        self.context.run_job(job, self.loop_state);
        self.loop_state.in_finalizer.set(outer);
        if self.loop_state.needs_repair.get() {
            saved_state::clear_running_loop(self.py);
        }
        saved.restore(self.py);
    }

    fn run_nested_finalizers(&self, released: Vec<Control<J::Notice>>) {
        let _guard = FinalizerGuard::begin(self);
        self.context.handle_control(self.loop_state.interpreter, self.loop_state.local, released);
    }

    /// Takes back the blow, which would hit the job after the exception that it raises itself. An earlier
    /// one may have hit it.
    fn interrupted(&self) -> WaitError {
        self.context.clear_interrupt(self.py);
        self.loop_state.needs_repair.set(true);
        WaitError::Interrupted
    }
}

/// Finalizers run on top of what waits, and are looked after by themselves. Also after a panic the wait
/// goes on as it was.
struct FinalizerGuard<'s, 'a, J: Job> {
    scope: &'s Scope<'a, J>,
    outer: bool,
}

impl<'s, 'a, J: Job> FinalizerGuard<'s, 'a, J> {
    fn begin(scope: &'s Scope<'a, J>) -> Self {
        scope.context.begin_housekeeping(Housekeeping::Finalizers);
        FinalizerGuard { scope, outer: scope.loop_state.in_finalizer.replace(true) }
    }
}

impl<J: Job> Drop for FinalizerGuard<'_, '_, J> {
    fn drop(&mut self) {
        let Scope { py, context, loop_state, .. } = self.scope;
        if context.housekeeping.end() {
            context.clear_interrupt(*py);
            context.forget_interrupts();
            // What the job that waits has locked it still needs.
            loop_state.needs_repair.set(true);
        }
        context.mailbox.end_control();
        loop_state.in_finalizer.set(self.outer);
    }
}

/// One job's wait, counted among those of its thread.
struct NestingLevel<'a, L> {
    loop_state: &'a LoopState<'a, L>,
    is_deep: bool,
    /// How long it has to last until jobs run that aren't known to be needed.
    delay: Duration,
}

impl<'a, L> NestingLevel<'a, L> {
    fn enter(loop_state: &'a LoopState<'a, L>, limit: u32) -> Self {
        let waiting = loop_state.nesting.get() + 1;
        loop_state.nesting.set(waiting);
        let beyond = waiting.saturating_sub(limit / 2);
        let is_deep = beyond > 0;
        let delay = if is_deep {
            (NESTING_DELAY_STEP * beyond.saturating_pow(3)).min(MAX_NESTING_DELAY)
        } else {
            NESTING_DELAY
        };
        NestingLevel { loop_state, is_deep, delay }
    }

    /// Which jobs may run after so long a wait although they may not be needed. In the deep the
    /// newest first: what is needed has come because others wait, and who has been waiting for long
    /// is more probably somebody who has nothing to do with it.
    fn policy<J: Job>(&self, waited: Duration) -> NestedPolicy<J> {
        let relation = JobRelation { same_caller: J::is_same_caller, same_work: J::is_same_work };
        match (waited >= self.delay, self.is_deep) {
            (false, _) => NestedPolicy::None,
            (true, false) => NestedPolicy::OldestFirst(relation),
            (true, true) => NestedPolicy::NewestFirst(relation),
        }
    }
}

impl<L> Drop for NestingLevel<'_, L> {
    fn drop(&mut self) {
        self.loop_state.nesting.set(self.loop_state.nesting.get() - 1);
    }
}
