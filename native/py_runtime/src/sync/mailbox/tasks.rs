//! Jobs that are tasks of the context's event loop: begun, not answered, and not on its thread's
//! stack but during a step.
//!
//! A task is found here from when its job has returned to when it is answered, so that it can be
//! cancelled. While a step of it runs it is among the running jobs, too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Mailbox, Seq, Sleeper, unpark};
use crate::sync::event_fd::EventFd;

/// A task.
#[derive(Debug)]
pub(super) struct Task<J> {
    pub(super) job: J,
    /// When it was first to be cancelled.
    asked_at: Option<Instant>,
    /// When it was first cancelled by its thread, or a step of it interrupted: it raises
    /// `CancelledError` or `KeyboardInterrupt`, and may clean up.
    cancelled_at: Option<Instant>,
}

impl<J> Task<J> {
    /// Notes that it is cancelled. `false`: it was before.
    pub(super) fn note_cancelled(&mut self) -> bool {
        let is_first = self.cancelled_at.is_none();
        self.cancelled_at.get_or_insert_with(Instant::now);
        is_first
    }
}

/// What goes before jobs and needs the thread's attention for a task.
impl<J: Clone, C> Mailbox<J, C> {
    /// The running job becomes a task. For the context thread.
    pub fn add_task(&self, seq: Seq, job: J) {
        let task = Task { job, asked_at: None, cancelled_at: None };
        self.inner.lock().tasks.insert(seq, task);
    }

    /// The task has ended. `false`: there was none. For the context thread.
    pub fn end_task(&self, seq: Seq) -> bool {
        let task = self.inner.lock().tasks.remove(&seq);
        task.is_some()
    }

    /// A step of a task, which counts as running until [`Mailbox::end_running`]. For the context
    /// thread.
    pub fn begin_step(&self, seq: Seq, job: J) {
        let mut inner = self.inner.lock();
        inner.running.push(seq, job);
        self.publish_load(&inner);
    }

    /// A second reference to a task. `None`: it has ended.
    pub fn task(&self, seq: Seq) -> Option<J> {
        self.inner.lock().tasks.get(&seq).map(|task| task.job.clone())
    }

    /// How many tasks there are.
    pub fn task_count(&self) -> usize {
        self.inner.lock().tasks.len()
    }

    /// All tasks, the oldest first.
    pub fn tasks(&self) -> Vec<(Seq, J)> {
        let tasks = &self.inner.lock().tasks;
        let mut tasks: Vec<_> = tasks.iter().map(|(seq, task)| (*seq, task.job.clone())).collect();
        tasks.sort_unstable_by_key(|(seq, _)| *seq);
        tasks
    }

    /// How many tasks go on although their time to clean up is over.
    pub fn abandoned_tasks(&self, grace: Option<Duration>) -> usize {
        let Some(grace) = grace else { return 0 };
        let inner = self.inner.lock();
        let is_abandoned =
            |task: &&Task<J>| task.cancelled_at.is_some_and(|at| at.elapsed() > grace);
        inner.tasks.values().filter(is_abandoned).count()
    }

    /// Has the thread cancel a task, by this message. `false`: it is no task.
    pub fn ask_to_cancel(&self, seq: Seq, message: C) -> bool {
        let sleeper = {
            let mut inner = self.inner.lock();
            let Some(task) = inner.tasks.get_mut(&seq) else { return false };
            task.asked_at.get_or_insert_with(Instant::now);
            if inner.ended {
                return true;
            }
            inner.control.push(message);
            self.approx_len.fetch_add(1, super::Ordering::Relaxed);
            inner.record_event(&self.events)
        };
        unpark(sleeper);
        true
    }

    /// The thread is about to cancel a task. `false`: it is none, or was cancelled before, and is
    /// to clean up undisturbed. For the context thread.
    pub fn note_cancelled(&self, seq: Seq) -> bool {
        self.inner.lock().tasks.get_mut(&seq).is_some_and(Task::note_cancelled)
    }

    /// The exception that was set for a step came too late for it. For the context thread.
    pub fn note_too_late(&self, seq: Seq) {
        if let Some(task) = self.inner.lock().tasks.get_mut(&seq) {
            task.cancelled_at = None;
        }
    }

    /// The task of which a step runs that should have ended: the task was to be cancelled longer
    /// than `delay` ago, and the thread can't do that; or it was cancelled, and has had its `grace`
    /// to clean up.
    pub fn overdue_step(&self, delay: Duration, grace: Option<Duration>) -> Option<Seq> {
        let inner = self.inner.lock();
        let seq = inner.running.current()?;
        let task = inner.tasks.get(&seq)?;
        let is_overdue = match (task.asked_at, task.cancelled_at) {
            (_, Some(cancelled)) => grace.is_some_and(|grace| cancelled.elapsed() > grace),
            (Some(asked), None) => asked.elapsed() > delay,
            (None, None) => false,
        };
        is_overdue.then_some(seq)
    }

    /// Registers this thread, which is about to poll file descriptors, to be woken by `event`, if
    /// nothing has happened since `as_of`. `false`: something has. For the context thread.
    pub fn prepare_to_poll(&self, as_of: usize, event: &Arc<EventFd>) -> bool {
        let mut inner = self.inner.lock();
        let is_idle = inner.events == as_of;
        inner.parked = is_idle.then(|| Sleeper::Polls(Arc::clone(event)));
        is_idle
    }

    /// The count of events now, for [`Mailbox::prepare_to_poll`], if there is nothing to take. For
    /// the context thread.
    pub fn idle_as_of(&self) -> Option<usize> {
        let inner = self.inner.lock();
        (inner.queue.is_empty() && inner.control.is_empty()).then_some(inner.events)
    }
}
