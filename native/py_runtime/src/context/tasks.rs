//! Tasks of the context's event loop: jobs that have begun, and wait without holding the thread.
//!
//! The loop itself is the job type's (see [`Job::turn`]). The thread runs it turn by turn, between
//! jobs, and waits for both at once: no job waits for the loop, and the loop for no job, longer
//! than one turn or job takes.
//!
//! A task is cancelled on its thread, between two steps, by a control message. Only a step that
//! goes on for too long is interrupted like a job: an asynchronous exception that is meant for a
//! step must not be raised by the loop's own code, which could then lose the handle of another
//! task.

use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::event_loop::LoopWait;
use super::housekeeping::Housekeeping;
use super::job::{Job, Outcome, Scope};
use super::loop_state::LoopState;
use super::saved_state::SavedState;
use super::thread::log_panic;
use super::{Context, Control, MAX_PARK_WITH_WAITERS};
use crate::cpython::object::Attached;
use crate::interrupt::interrupter::Target;
use crate::sync::background::BACKGROUND;
use crate::sync::mailbox::Seq;
use crate::sync::reply_state::Cancel;

/// How long jobs may run one after the other before the loop has a turn.
const MAX_TIME_WITHOUT_TURN: Duration = Duration::from_millis(1);
/// How long a step may go on after its task was to be cancelled, before it is interrupted: most
/// steps end sooner, and then the task has a `CancelledError`.
const INTERRUPT_STEP_AFTER: Duration = Duration::from_millis(5);
/// How long tasks may clean up when the context ends.
const MAX_LAST_GRACE: Duration = Duration::from_secs(5);
/// A step of this length counts as progress of the loop's turn.
const LONG_STEP: Duration = Duration::from_millis(1);

/// By how much a timer of the loop has to be sooner to count as another one, in µs.
const TIMER_SLACK: u64 = 200;

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl<J: Job> Context<J> {
    /// How many tasks there are.
    pub fn task_count(&self) -> usize {
        self.mailbox.task_count()
    }

    /// How many tasks go on although they were cancelled and have had their time to clean up.
    pub fn abandoned_tasks(&self) -> usize {
        self.mailbox.abandoned_tasks(self.config.cancel_grace)
    }

    /// Has a job that isn't wanted any more end: cancels a task, interrupts any other.
    pub(super) fn stop_running(self: &Arc<Self>, seq: Seq) {
        if !self.cancel_task(seq) {
            self.interrupt_in_background(Target::Job(seq));
        }
    }

    /// Has the thread cancel a task. `false`: it is no task.
    pub(super) fn cancel_task(&self, seq: Seq) -> bool {
        self.mailbox.ask_to_cancel(seq, Control::CancelTask(seq))
    }

    /// Cancels the oldest task that nobody has interrupted or cancelled. `false`: there is none.
    pub(super) fn interrupt_oldest_task(&self) -> bool {
        let mut tasks = self.mailbox.tasks().into_iter();
        let oldest =
            tasks.find(|(_, job)| !job.state().was_interrupted() && job.state().interrupt());
        oldest.is_some_and(|(seq, _)| self.cancel_task(seq))
    }

    /// Answers all tasks, has the thread cancel them, and end in a while even if they go on.
    pub(super) fn end_tasks(self: &Arc<Self>, why: J::ExitReason) {
        let grace = self.config.cancel_grace.map_or(MAX_LAST_GRACE, |it| it.min(MAX_LAST_GRACE));
        let _ = self.tasks_end_by.set(Instant::now() + grace);
        let tasks = self.mailbox.tasks();
        if tasks.is_empty() {
            return;
        }
        let context = Arc::clone(self);
        BACKGROUND.spawn(move || {
            for (seq, job) in tasks {
                // In this order: a task that is cancelled first would answer with an exception.
                if job.state().was_interrupted() {
                    job.reply_interrupted();
                } else {
                    job.reply_context_died(&why);
                }
                context.cancel_task(seq);
            }
        });
    }

    /// The watchdog's part: a step that goes on although its task was cancelled is interrupted.
    pub(super) fn interrupt_overdue_step(self: &Arc<Self>) {
        let overdue = self.mailbox.overdue_step(INTERRUPT_STEP_AFTER, self.config.cancel_grace);
        if let Some(seq) = overdue {
            self.interrupt_in_background(Target::Job(seq));
        }
    }

    /// The job has become a task, and its thread has a place for it. It may have been cancelled
    /// just before.
    pub(super) fn keep_as_task(&self, seq: Seq, job: &J) {
        self.mailbox.add_task(seq, job.clone());
        if job.state().is_cancelled() || job.state().was_interrupted() {
            self.cancel_task(seq);
        }
    }

    /// A direct run has ended, in which the context's thread waits: wakes that, if the event loop
    /// wants a turn sooner than it knows.
    pub(super) fn wake_for_event_loop(&self, py: Attached<'_>, local: &J::Local) {
        let is_sooner = match J::loop_wait(py, local) {
            Some(LoopWait::Poll { at_most: Some(at_most), .. }) => {
                let at = self.now().saturating_add(micros(at_most));
                at < self.loop_waits_until.load(Ordering::Relaxed)
            }
            Some(LoopWait::InLoop) => true,
            Some(LoopWait::Poll { at_most: None, .. }) | None => false,
        };
        if is_sooner {
            self.mailbox.wake();
        }
    }

    // What follows is for the context thread alone.

    /// Whether the mailbox's end has to wait for tasks.
    pub(super) fn waits_for_tasks(&self) -> bool {
        let is_over = self.tasks_end_by.get().is_some_and(|end| Instant::now() >= *end);
        !is_over && self.task_count() > 0
    }

    /// Runs the loop once, if something is due: a task that was cancelled learns of it before the
    /// next job runs.
    pub(super) fn turn_if_due(self: &Arc<Self>, loop_state: &LoopState<'_, J::Local>) {
        let wait = J::loop_wait(loop_state.interpreter.attached(), loop_state.local);
        if wait.is_some_and(|wait| wait.is_due()) {
            self.turn(loop_state);
        }
    }

    /// Runs the loop once, if jobs have kept it waiting.
    pub(super) fn turn_if_late(self: &Arc<Self>, loop_state: &LoopState<'_, J::Local>) {
        if J::has_event_loop(loop_state.local)
            && loop_state.turned_at.get().elapsed() > MAX_TIME_WITHOUT_TURN
        {
            self.turn(loop_state);
        }
    }

    /// There is no job: waits until there is one or the loop wants a turn, which it gets then.
    pub(super) fn wait_or_turn(self: &Arc<Self>, loop_state: &LoopState<'_, J::Local>) {
        let py = loop_state.interpreter.attached();
        let Some(wait) = J::loop_wait(py, loop_state.local) else {
            self.wait_for_work(loop_state);
            return;
        };
        let Some(as_of) = self.mailbox.idle_as_of() else { return };
        self.wake_waiters_detached(loop_state);
        match wait {
            LoopWait::InLoop => {
                // Neither callers that wait for capacity nor the end of tasks wake it.
                let wakes = self.waiters.is_empty() && self.tasks_end_by.get().is_none();
                let event = loop_state.poll_event().filter(|_| wakes);
                let Some(event) = event else {
                    loop_state.interpreter.detached(|| std::thread::sleep(MAX_PARK_WITH_WAITERS));
                    return self.turn(loop_state);
                };
                if self.mailbox.prepare_to_poll(as_of, event) {
                    self.turn_and_wait(loop_state, Some(event.fd()));
                }
            }
            LoopWait::Poll { .. } if wait.is_due() => self.turn(loop_state),
            LoopWait::Poll { fd, at_most } => {
                self.while_lent(loop_state, || {
                    self.wait_with_loop(loop_state, (fd, at_most), as_of, || false)
                });
                if !self.mailbox.has_event_since(as_of) {
                    self.turn(loop_state);
                }
            }
        }
    }

    /// Waits until something has happened since `as_of`, the loop's descriptor is readable, its
    /// time is over or `is_over`. Detached.
    pub(super) fn wait_with_loop(
        &self,
        loop_state: &LoopState<'_, J::Local>,
        (fd, at_most): (RawFd, Option<Duration>),
        as_of: usize,
        is_over: impl Fn() -> bool,
    ) {
        let Some(event) = loop_state.poll_event() else { return };
        let end = self.tasks_end_by.get();
        let end = end.map(|end| end.saturating_duration_since(Instant::now()));
        let waiters = (!self.waiters.is_empty()).then_some(MAX_PARK_WITH_WAITERS);
        let at_most = [at_most, end, waiters].into_iter().flatten().min();
        let until = at_most.map_or(u64::MAX, |time| self.now().saturating_add(micros(time)));
        // Its own estimate, made again, may be a little sooner.
        self.loop_waits_until.store(until.saturating_sub(TIMER_SLACK), Ordering::Relaxed);
        loop_state.spin.borrow_mut().wait_until(
            || is_over() || self.mailbox.has_event_since(as_of),
            || {
                if self.mailbox.prepare_to_poll(as_of, event) && !is_over() {
                    event.wait(fd, at_most);
                }
            },
        );
    }

    fn wake_waiters_detached(&self, loop_state: &LoopState<'_, J::Local>) {
        if !self.waiters.is_empty() {
            loop_state.interpreter.detached(|| self.wake_waiters(self.config.max_queue));
        }
    }

    /// Runs the event loop once. What it runs beside steps of tasks (callbacks, transports) is
    /// watched as housekeeping.
    pub(super) fn turn(self: &Arc<Self>, loop_state: &LoopState<'_, J::Local>) {
        self.turn_and_wait(loop_state, None);
    }

    /// The same for a loop that waits by itself, until `wait` is readable.
    fn turn_and_wait(self: &Arc<Self>, loop_state: &LoopState<'_, J::Local>, wait: Option<RawFd>) {
        let LoopState { interpreter, namespace, local, .. } = *loop_state;
        let py = interpreter.attached();
        self.begin_housekeeping(Housekeeping::EventLoop);
        loop_state.in_turn.set(true);
        let scope = Scope { py, context: self, namespace, local, seq: None, loop_state };
        let turned = catch_unwind(AssertUnwindSafe(|| J::turn(&scope, wait)));
        loop_state.in_turn.set(false);
        loop_state.turned_at.set(Instant::now());
        if turned.is_err() {
            log_panic("a turn of the event loop");
            crate::cpython::exception::clear(py);
        }
        self.end_housekeeping(py);
        self.repair_if_needed(loop_state);
        interpreter.maybe_yield_gil();
    }

    /// The same while a job waits, in which what runs is nested.
    pub(super) fn turn_nested(self: &Arc<Self>, loop_state: &LoopState<'_, J::Local>) {
        let py = loop_state.interpreter.attached();
        let saved = SavedState::save(py);
        self.turn(loop_state);
        saved.restore(py);
    }
}

impl<J: Job> Scope<'_, J> {
    /// Whether a job can become a task. Not where it is nested: the loop may be below it on the
    /// stack, waiting for it.
    pub fn may_become_task(&self) -> bool {
        let loop_state = self.loop_state;
        loop_state.nesting.get() == 0 && !loop_state.in_finalizer.get()
    }

    /// How many tasks there may be.
    pub fn max_tasks(&self) -> usize {
        self.context.config.max_tasks
    }

    /// Runs a step of the task `seq`, or of code that runs for its job.
    pub fn step<T>(&self, seq: Seq, job: &J, work: impl FnOnce() -> T) -> T {
        let context = self.context;
        let began = context.now();
        let outer = context.busy_since.swap(began, Ordering::Relaxed);
        context.mailbox.begin_step(seq, job.clone());
        let step = Step { scope: self, seq, outer, began };
        let result = work();
        drop(step);
        result
    }

    /// The task has ended. Its reply may come after.
    pub fn end_task(&self, seq: Seq) {
        self.context.mailbox.end_task(seq);
    }

    /// Counts how a task has ended.
    pub fn count(&self, outcome: Outcome) {
        self.context.count(outcome);
    }

    /// The caller of the task is dead: cancels it, if it is to stop for that.
    pub fn stop_for_dead_caller(&self, seq: Seq) {
        let Context { mailbox, config, counters, .. } = &**self.context;
        let Some(job) = mailbox.task(seq) else { return };
        if job.should_stop_for_dead_caller(config.on_caller_down) {
            if job.state().cancel() != Cancel::TooLate {
                counters.cancelled.fetch_add(1, Ordering::Relaxed);
            }
            self.context.cancel_task(seq);
        }
    }
}

/// A step that runs. A guard: after a panic, too, the next one finds the thread as it was.
struct Step<'s, 'a, J: Job> {
    scope: &'s Scope<'a, J>,
    seq: Seq,
    outer: u64,
    began: u64,
}

impl<J: Job> Drop for Step<'_, '_, J> {
    fn drop(&mut self) {
        let Scope { py, context, loop_state, .. } = *self.scope;
        context.busy_since.store(self.outer, Ordering::Relaxed);
        if context.mailbox.end_running() {
            if context.is_exception_pending(Target::Job(self.seq)) == Some(true) {
                context.mailbox.note_too_late(self.seq);
            }
            // The exception that the step has raised stays set.
            crate::cpython::exception::preserving_exception(py, || context.clear_interrupt(py));
            context.forget_interrupts();
            loop_state.needs_repair.set(true);
        }
        if context.now().saturating_sub(self.began) > micros(LONG_STEP) {
            context.housekeeping.note_progress();
        }
    }
}
