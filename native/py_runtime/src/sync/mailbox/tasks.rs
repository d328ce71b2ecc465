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

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::super::Next;
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// A mailbox whose first job, number 0, has become a task.
    fn with_task() -> Mailbox<u32, &'static str> {
        let mailbox = Mailbox::new(10);
        assert_eq!(mailbox.push(7), Ok(0));
        assert_eq!(mailbox.next(), Next::Run(0, 7));
        mailbox.add_task(0, 7);
        mailbox.end_running();
        mailbox
    }

    #[test]
    fn a_task_holds_nothing_and_is_found_until_it_ends() {
        let mailbox = with_task();
        assert!(!mailbox.is_busy() && mailbox.load() == 0);
        assert_eq!(
            (mailbox.take(0), mailbox.task(0), mailbox.tasks()),
            (Some(7), Some(7), vec![(0, 7)])
        );
        assert!(mailbox.end_task(0) && !mailbox.end_task(0));
        assert_eq!((mailbox.take(0), mailbox.task_count()), (None, 0));
    }

    #[test]
    fn a_step_is_current_and_can_be_interrupted() {
        let mailbox = with_task();
        mailbox.begin_step(0, 7);
        assert_eq!((mailbox.current(), mailbox.load()), (Some(0), 1));
        let mut is_set = false;
        assert!(mailbox.interrupt(0, || is_set = true) && is_set);
        // The exception is the cancellation: it may clean up.
        assert!(!mailbox.note_cancelled(0));
        assert!(mailbox.end_running());
        assert!(!mailbox.interrupt(0, || panic!("between steps")));
        mailbox.note_too_late(0);
        assert!(mailbox.note_cancelled(0));
    }

    #[test]
    fn the_thread_gets_a_message_for_a_task_to_cancel() {
        let mailbox = with_task();
        let as_of = mailbox.idle_as_of().unwrap();
        assert!(mailbox.ask_to_cancel(0, "cancel") && !mailbox.ask_to_cancel(1, "no task"));
        assert!(mailbox.has_event_since(as_of) && mailbox.idle_as_of().is_none());
        assert_eq!(mailbox.next(), Next::Control(vec!["cancel"]));
        assert!(mailbox.note_cancelled(0) && !mailbox.note_cancelled(0));
    }

    #[test]
    fn a_step_is_overdue_that_keeps_its_task_from_being_cancelled() {
        let mailbox = with_task();
        let overdue = |delay, grace| mailbox.overdue_step(delay, grace);
        mailbox.begin_step(0, 7);
        assert_eq!(overdue(Duration::ZERO, Some(Duration::ZERO)), None);
        assert!(mailbox.ask_to_cancel(0, "cancel"));
        std::thread::sleep(Duration::from_micros(10));
        assert_eq!((overdue(Duration::ZERO, None), overdue(LONG, None)), (Some(0), None));
        // Once it is cancelled it has its time to clean up.
        assert!(mailbox.note_cancelled(0));
        std::thread::sleep(Duration::from_micros(10));
        assert_eq!(
            (overdue(Duration::ZERO, None), overdue(Duration::ZERO, Some(LONG))),
            (None, None)
        );
        assert_eq!(overdue(LONG, Some(Duration::ZERO)), Some(0));
        assert_eq!(
            (mailbox.abandoned_tasks(Some(Duration::ZERO)), mailbox.abandoned_tasks(None)),
            (1, 0)
        );
    }

    #[test]
    fn a_thread_that_polls_is_woken_by_a_push() {
        let mailbox = with_task();
        let event = Arc::new(EventFd::new().unwrap());
        let as_of = mailbox.idle_as_of().unwrap();
        assert!(mailbox.prepare_to_poll(as_of, &event));
        assert_eq!(mailbox.push(8), Ok(1));
        assert!(!mailbox.prepare_to_poll(as_of, &event));
        // It was notified: the wait for a descriptor that is never readable ends.
        let (reader, _writer) = std::io::pipe().unwrap();
        event.wait(std::os::fd::AsRawFd::as_raw_fd(&reader), None);
    }
}
