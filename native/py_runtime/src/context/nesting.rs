//! A job that waits: its thread runs other jobs meanwhile, nested.
//!
//! What the job waits for may itself need this context: an Erlang function that Python has called
//! may call Python again, directly or through any other process. So every waiting job may be the
//! one that ends the wait, and it would never run if the thread just slept. So the thread runs jobs
//! *nested* in the one that waits (a re-entrant event loop). That has a price: a wait that is over
//! can't return before the nested job has ended. Therefore:
//!
//! - A job that is known to be needed ([`Wait::needs`]) runs at once.
//! - Others run when the wait has lasted a little. The deeper the stack already is, the longer that
//!   takes, so that unrelated callers don't fill the stack to its limit, where the next job that
//!   waits is refused.
//! - A job that does the same as the one that waits would probably wait too, and runs after others.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::event_loop::LoopWait;
use super::housekeeping::Housekeeping;
use super::job::{Job, Scope};
use super::loop_state::LoopState;
use super::saved_state::{self, SavedState};
use super::{Context, Control};
use crate::cpython::async_exc;
use crate::sync::mailbox::{JobRelation, NestedNext, NestedPolicy, Seq};

/// How long a wait lasts before jobs run that aren't known to be needed. An answer that takes no
/// longer finds the thread waiting.
const NESTING_DELAY: Duration = Duration::from_micros(50);
/// Beyond half of the limit the wait lasts this long times the cube of the levels beyond. So little
/// at first that a job which is needed isn't delayed much.
const NESTING_DELAY_STEP: Duration = Duration::from_millis(1);
/// And never longer than this, which delays a job that is needed and isn't known to be. A small
/// bound would let unrelated callers fill the stack to its limit: with 50 ms, of 100 callers whose
/// Erlang function took 5 s, 36 were refused; with 1 s, 5.
const MAX_NESTING_DELAY: Duration = Duration::from_secs(10);

/// How long a job that waits sleeps, where nothing is known of the thread's event loop, before that
/// has a turn.
const MAX_SLEEP_WITHOUT_TURN: Duration = Duration::from_millis(5);

/// Something that a job waits for.
pub trait Wait<J> {
    /// Whether it has happened. The thread that makes it happen then calls
    /// [`Context::wake_waiting_job`].
    ///
    /// [`Context::wake_waiting_job`]: super::Context::wake_waiting_job
    fn is_over(&self) -> bool;

    /// Whether it is known to need this job to be run.
    fn needs(&self, job: &J) -> bool;
}

/// Why a wait ended without what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// The job was interrupted: it should raise `KeyboardInterrupt`.
    Interrupted,
    /// So many jobs wait on the thread already, each nested in the one before.
    TooDeep(u32),
}

impl<J: Job> Scope<'_, J> {
    /// Waits, as the `limit`th on this thread at most.
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
                NestedNext::Run(seq, job) => {
                    self.run_nested(seq, job);
                    // Now this job is to be interrupted, if that was requested meanwhile.
                    if self.take_interrupt() {
                        return Err(self.interrupted());
                    }
                    since = Instant::now();
                }
                NestedNext::Control(messages) => {
                    self.run_nested_finalizers(messages);
                    if self.take_interrupt() {
                        return Err(self.interrupted());
                    }
                }
                NestedNext::Nothing { as_of, jobs } => {
                    let max = jobs.then(|| level.delay.saturating_sub(waited));
                    self.sleep_or_turn(wait, as_of, max);
                }
            }
        }
    }

    /// Whether [`Scope::wait`] would be allowed.
    pub fn check_depth(&self, limit: u32) -> Result<(), WaitError> {
        let nesting = self.loop_state.nesting.get();
        if nesting < limit { Ok(()) } else { Err(WaitError::TooDeep(nesting)) }
    }

    /// Whether the job, or the finalizer nested in it, was interrupted and hasn't raised
    /// `KeyboardInterrupt` yet.
    pub fn is_interrupted(&self) -> bool {
        let Context { mailbox, housekeeping, .. } = &**self.context;
        if self.loop_state.in_finalizer.get() {
            housekeeping.is_interrupted()
        } else {
            mailbox.is_interrupted()
        }
    }

    /// Notes that the code which runs has raised its interrupt, if it has: cleaning up after it, it
    /// may wait.
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

    /// Runs `work`, which touches nothing of Python, detached.
    pub fn detached<T>(&self, work: impl FnOnce() -> T) -> T {
        self.loop_state.interpreter.detached(work)
    }

    /// Sleeps, or runs the event loop, unless that is below on the stack: what the job waits for
    /// may need one of its tasks.
    fn sleep_or_turn(&self, wait: &impl Wait<J>, as_of: usize, max: Option<Duration>) {
        let loop_state = self.loop_state;
        let is_below = loop_state.in_turn.get() || loop_state.in_finalizer.get();
        let of_loop = if is_below { None } else { J::loop_wait(self.py, loop_state.local) };
        let Some(of_loop) = of_loop else {
            self.sleep(wait, as_of, max);
            return;
        };
        match of_loop {
            LoopWait::Poll { fd, at_most } if !of_loop.is_due() => {
                let at_most = [at_most, max].into_iter().flatten().min();
                let is_over = || wait.is_over();
                loop_state.idle(|| {
                    self.context.wait_with_loop(loop_state, (fd, at_most), as_of, is_over)
                });
            }
            LoopWait::Poll { .. } => (),
            LoopWait::InLoop => {
                let at_most =
                    max.map_or(MAX_SLEEP_WITHOUT_TURN, |it| it.min(MAX_SLEEP_WITHOUT_TURN));
                self.sleep(wait, as_of, Some(at_most));
            }
        }
        if !wait.is_over() && !self.context.mailbox.has_event_since(as_of) {
            self.context.turn_nested(loop_state);
        }
    }

    fn sleep(&self, wait: &impl Wait<J>, as_of: usize, max: Option<Duration>) {
        let mailbox = &self.context.mailbox;
        self.loop_state.idle(|| {
            self.loop_state.spin.borrow_mut().wait_until(
                || wait.is_over() || mailbox.has_event_since(as_of),
                || mailbox.park_until_event(as_of, max),
            );
        });
    }

    fn run_nested(&self, seq: Seq, job: J) {
        let saved = SavedState::save(self.py);
        let outer = self.loop_state.in_finalizer.replace(false);
        self.context.run_job(seq, job, self.loop_state);
        self.loop_state.in_finalizer.set(outer);
        if self.loop_state.needs_repair.get() {
            saved_state::clear_running_loop(self.py);
        }
        saved.restore(self.py);
    }

    fn run_nested_finalizers(&self, messages: Vec<Control<J::Notice>>) {
        let _guard = FinalizerGuard::begin(self);
        let interpreter = self.loop_state.interpreter;
        self.context.handle_control(interpreter, Some(self.loop_state), messages);
    }

    /// Clears the asynchronous exception, which the job would raise after the one that it raises
    /// itself. It may have raised an earlier one.
    fn interrupted(&self) -> WaitError {
        self.context.clear_interrupt(self.py);
        self.loop_state.needs_repair.set(true);
        WaitError::Interrupted
    }
}

/// Finalizers run nested in the job that waits, and are interrupted by themselves. A guard: after a
/// panic, too, the wait goes on as it was.
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
            // Locks that the waiting job owns it still needs.
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
    /// How long it lasts before jobs run that aren't known to be needed.
    delay: Duration,
}

impl<'a, L> NestingLevel<'a, L> {
    fn enter(loop_state: &'a LoopState<'a, L>, limit: u32) -> Self {
        let level = loop_state.nesting.get() + 1;
        loop_state.nesting.set(level);
        let levels_beyond = level.saturating_sub(limit / 2);
        NestingLevel { loop_state, is_deep: levels_beyond > 0, delay: nesting_delay(levels_beyond) }
    }

    /// Which jobs may run after so long a wait although they aren't known to be needed. On a deep
    /// stack the newest first: a job that is needed has come since the others wait, and one that
    /// was there before them has more probably nothing to do with them.
    fn policy<J: Job>(&self, waited: Duration) -> NestedPolicy<J> {
        let relation = JobRelation { same_caller: J::is_same_caller, same_work: J::is_same_work };
        match (waited >= self.delay, self.is_deep) {
            (false, _) => NestedPolicy::None,
            (true, false) => NestedPolicy::OldestFirst(relation),
            (true, true) => NestedPolicy::NewestFirst(relation),
        }
    }
}

/// How long a wait lasts before jobs run that aren't known to be needed, so many levels beyond half
/// of the limit.
fn nesting_delay(levels_beyond: u32) -> Duration {
    match levels_beyond {
        0 => NESTING_DELAY,
        beyond => (NESTING_DELAY_STEP * beyond.saturating_pow(3)).min(MAX_NESTING_DELAY),
    }
}

impl<L> Drop for NestingLevel<'_, L> {
    fn drop(&mut self) {
        self.loop_state.nesting.set(self.loop_state.nesting.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_that_are_not_needed_take_minutes_to_fill_the_stack() {
        let levels = |limit: u32| (1..=limit).map(move |level| level.saturating_sub(limit / 2));
        let to_fill = |limit| levels(limit).map(nesting_delay).sum::<Duration>();
        assert!(to_fill(64) > Duration::from_secs(120), "{:?}", to_fill(64));
        assert!(to_fill(200) > to_fill(64));
        assert!(levels(200).all(|beyond| nesting_delay(beyond) <= MAX_NESTING_DELAY));
    }
}
