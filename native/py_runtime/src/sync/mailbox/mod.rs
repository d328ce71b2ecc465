//! A context's mailbox: a bounded queue before a single owner, the context thread.
//!
//! Any thread pushes, cancels and closes; only the context thread takes. One mutex guards the
//! queue, the running jobs and the parked flag together, which makes the hard questions easy:
//!
//! - A job is always in the queue, among the running ones or among the tasks, so a cancellation
//!   finds it.
//! - A producer sees the flag that the consumer set before it last checked the queue, so no
//!   wake-up is lost.
//!
//! The lock is held for a few dozen instructions and never while the thread attaches to Python or
//! detaches. Each context has its own.
//!
//! It is over 400 lines because all that is done under this lock, by any thread, is side by side.

mod nested;
mod running;
mod tasks;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::sync::event_fd::EventFd;
use crate::sync::{AtomicUsize, Mutex, Ordering, Thread, current, park, park_timeout};
use running::RunningJobs;
use tasks::Task;

pub use nested::{JobRelation, NestedNext, NestedPolicy};
pub use running::Seq;

/// Why a job was not taken in. The job comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum PushError<J> {
    /// The queue is full.
    Full {
        /// The job.
        job: J,
        /// Jobs waiting now.
        queue: usize,
    },
    /// The mailbox is closed.
    Closed(J),
}

/// What the context thread does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<J, C> {
    /// Run this job; it counts as running until [`Mailbox::end_running`].
    Run(Seq, J),
    /// Handle these control messages first.
    Control(Vec<C>),
    /// Nothing to do.
    Empty,
    /// Closed, and nothing is left: end.
    Closed,
}

/// The context thread while it sleeps, and how it is woken.
#[derive(Debug)]
enum Sleeper {
    /// It is parked.
    Parks(Thread),
    /// It polls file descriptors, this one among them.
    Polls(Arc<EventFd>),
}

#[derive(Debug)]
struct Inner<J, C> {
    /// In the order of their numbers.
    queue: VecDeque<(Seq, J)>,
    /// The number of the next job to come.
    next: Seq,
    running: RunningJobs<J>,
    /// The tasks of the event loop.
    tasks: HashMap<Seq, Task<J>>,
    control: Vec<C>,
    /// No more jobs are taken in.
    closed: bool,
    /// Nothing at all is taken in: the context thread won't check again.
    ended: bool,
    /// The context thread, if it sleeps.
    parked: Option<Sleeper>,
    /// How often something happened that the context thread may want to know.
    events: usize,
}

impl<J: Clone, C> Inner<J, C> {
    /// Takes a job from its place in the queue among the running ones.
    fn start(&mut self, place: usize) -> Option<(Seq, J)> {
        let (seq, job) = self.queue.remove(place)?;
        self.running.push(seq, job.clone());
        Some((seq, job))
    }

    /// Counts an event; returns the context thread, if it sleeps and has to be woken.
    fn record_event(&mut self, events: &AtomicUsize) -> Option<Sleeper> {
        self.events = self.events.wrapping_add(1);
        events.store(self.events, Ordering::Release);
        self.parked.take()
    }
}

/// The mailbox. `J` is a job, `C` a control message, which goes before all jobs.
#[derive(Debug)]
pub struct Mailbox<J, C> {
    inner: Mutex<Inner<J, C>>,
    /// Things to take, as a hint that can be read without the lock while spinning.
    approx_len: AtomicUsize,
    /// `Inner::events`, readable without the lock while spinning.
    events: AtomicUsize,
    /// Jobs that wait or run and aren't answered, for [`Mailbox::load`].
    load: AtomicUsize,
    max_queue: usize,
}

impl<J: Clone, C> Mailbox<J, C> {
    /// An open, empty mailbox for at most `max_queue` waiting jobs.
    pub fn new(max_queue: usize) -> Self {
        Mailbox {
            inner: Mutex::new(Inner {
                queue: VecDeque::new(),
                next: 0,
                running: RunningJobs::default(),
                tasks: HashMap::new(),
                control: Vec::new(),
                closed: false,
                ended: false,
                parked: None,
                events: 0,
            }),
            approx_len: AtomicUsize::new(0),
            events: AtomicUsize::new(0),
            load: AtomicUsize::new(0),
            max_queue,
        }
    }

    /// How many jobs wait or run. Takes no lock: a job that comes or goes at the same time may be
    /// counted or not. A job that was answered is not counted, see [`Mailbox::note_answered`].
    pub fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Publishes the load, after the queue or the running jobs have changed.
    fn publish_load(&self, inner: &Inner<J, C>) {
        self.load.store(inner.queue.len() + inner.running.len(), Ordering::Relaxed);
    }

    /// Takes a job in. Wakes the context thread only if it sleeps.
    pub fn push(&self, job: J) -> Result<Seq, PushError<J>> {
        self.push_if_below(self.max_queue, job)
    }

    /// As [`Mailbox::push`], with another bound of waiting jobs.
    pub fn push_if_below(&self, max_queue: usize, job: J) -> Result<Seq, PushError<J>> {
        let (seq, sleeper) = {
            let mut inner = self.inner.lock();
            if inner.closed {
                return Err(PushError::Closed(job));
            }
            if inner.queue.len() >= max_queue {
                return Err(PushError::Full { job, queue: inner.queue.len() });
            }
            let seq = inner.next;
            inner.next += 1;
            inner.queue.push_back((seq, job));
            self.publish_load(&inner);
            self.approx_len.fetch_add(1, Ordering::Relaxed);
            (seq, inner.record_event(&self.events))
        };
        unpark(sleeper);
        Ok(seq)
    }

    /// Sends a control message. A closed mailbox still takes it, because a job may still run that
    /// has sent it. A mailbox that has ended gives it back.
    pub fn push_control(&self, message: C) -> Result<(), C> {
        let sleeper = {
            let mut inner = self.inner.lock();
            if inner.ended {
                return Err(message);
            }
            inner.control.push(message);
            self.approx_len.fetch_add(1, Ordering::Relaxed);
            inner.record_event(&self.events)
        };
        unpark(sleeper);
        Ok(())
    }

    /// Takes the job numbered `seq`, so that its request can be cancelled: out of the queue if it
    /// waits there, a second reference to it if it runs or is a task. `None`: it has ended.
    pub fn take(&self, seq: Seq) -> Option<J> {
        let mut inner = self.inner.lock();
        if let Some(job) = inner.running.get(seq) {
            return Some(job.clone());
        }
        if let Some(task) = inner.tasks.get(&seq) {
            return Some(task.job.clone());
        }
        // No hole is left: a context that is stuck while its callers cancel must not grow.
        let place = inner.queue.binary_search_by_key(&seq, |(waiting, _)| *waiting).ok()?;
        let (_, job) = inner.queue.remove(place)?;
        self.publish_load(&inner);
        self.approx_len.fetch_sub(1, Ordering::Relaxed);
        Some(job)
    }

    /// Closes the mailbox and gives back what was waiting, in order. What runs goes on.
    pub fn close(&self) -> Vec<J> {
        let (jobs, sleeper) = {
            let mut inner = self.inner.lock();
            inner.closed = true;
            self.approx_len.fetch_add(1, Ordering::Relaxed);
            let jobs = std::mem::take(&mut inner.queue);
            self.publish_load(&inner);
            (jobs, inner.record_event(&self.events))
        };
        unpark(sleeper);
        jobs.into_iter().map(|(_, job)| job).collect()
    }

    /// Refuses new jobs, but lets the waiting ones run: the context thread finds it closed after
    /// them.
    pub fn drain(&self) {
        let sleeper = {
            let mut inner = self.inner.lock();
            inner.closed = true;
            self.approx_len.fetch_add(1, Ordering::Relaxed);
            inner.record_event(&self.events)
        };
        unpark(sleeper);
    }

    /// Whether the mailbox was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }

    /// Closes the mailbox and moves what waits to another, in order and with its numbers. Then runs
    /// `moved`, before anybody can find this mailbox closed. `false`: nothing has changed, because
    /// one of the two is closed.
    pub fn move_to(&self, other: &Self, moved: impl FnOnce()) -> bool {
        if std::ptr::eq(self, other) {
            return false;
        }
        let sleepers = {
            // By their addresses, so that two which are moved to each other don't wait for each
            // other.
            let (mut inner, mut others);
            if std::ptr::from_ref(self) < std::ptr::from_ref(other) {
                inner = self.inner.lock();
                others = other.inner.lock();
            } else {
                others = other.inner.lock();
                inner = self.inner.lock();
            }
            if inner.closed || others.closed {
                return false;
            }
            inner.closed = true;
            self.approx_len.fetch_add(1, Ordering::Relaxed);
            other.approx_len.fetch_add(inner.queue.len(), Ordering::Relaxed);
            others.queue = std::mem::take(&mut inner.queue);
            others.next = inner.next;
            self.publish_load(&inner);
            other.publish_load(&others);
            moved();
            [inner.parked.take(), others.parked.take()]
        };
        sleepers.into_iter().for_each(unpark);
        true
    }

    /// Whether anything waits or runs.
    pub fn is_busy(&self) -> bool {
        let inner = self.inner.lock();
        let is_empty = inner.running.is_empty() && inner.queue.is_empty();
        !inner.ended && !is_empty
    }

    /// The number of waiting jobs.
    pub fn waiting(&self) -> usize {
        self.inner.lock().queue.len()
    }

    // The running jobs.

    /// The jobs being run, outermost first.
    pub fn running(&self) -> Vec<(Seq, J)> {
        self.inner.lock().running.iter().map(|(seq, job)| (seq, job.clone())).collect()
    }

    /// The number of the innermost running job. None while the context thread runs housekeeping, be
    /// it nested in a job, or is gone: a panic leaves jobs behind.
    pub fn current(&self) -> Option<Seq> {
        let inner = self.inner.lock();
        inner.running.current().filter(|_| !inner.ended)
    }

    /// Marks job `seq` as one to interrupt: the time since then counts, see
    /// [`Mailbox::interrupted_for`]. `false`: it doesn't run any more.
    pub fn mark_interrupt(&self, seq: Seq) -> bool {
        let mut inner = self.inner.lock();
        inner.running.mark_interrupt(seq) && !inner.ended
    }

    /// How long ago the current job was first to be interrupted.
    pub fn interrupted_for(&self) -> Option<Duration> {
        let inner = self.inner.lock();
        let since = inner.running.current_interrupted_at().filter(|_| !inner.ended);
        since.map(|since| since.elapsed())
    }

    /// Interrupts the running job `seq`. If it is the current one, calls `set`, under the lock, so
    /// that the job can't end in between and leave the exception to its successor. An outer job is
    /// only marked: it finds that when the jobs nested in it have ended, see
    /// [`Mailbox::next_nested`]. `true`: `set` was called.
    pub fn interrupt(&self, seq: Seq, set: impl FnOnce()) -> bool {
        let (is_current, sleeper) = {
            let mut inner = self.inner.lock();
            let Some(is_current) = inner.running.interrupt(seq) else { return false };
            if is_current {
                set();
                inner.tasks.get_mut(&seq).map(Task::note_cancelled);
            }
            (is_current, inner.record_event(&self.events))
        };
        unpark(sleeper);
        is_current
    }

    /// Interrupts housekeeping code. Calls `deliver(is_innermost)` under the lock, so that no job
    /// can begin or end in between. Returns what that returns.
    pub fn interrupt_housekeeping(&self, deliver: impl FnOnce(bool) -> bool) -> bool {
        let (is_set, sleeper) = {
            let mut inner = self.inner.lock();
            let is_innermost = inner.running.current().is_none();
            (deliver(is_innermost), inner.record_event(&self.events))
        };
        unpark(sleeper);
        is_set
    }

    /// Whether the running job `seq` has still to raise an exception that was meant for it.
    pub fn has_to_raise(&self, seq: Seq) -> bool {
        self.inner.lock().running.has_to_raise(seq)
    }

    /// Whether the current job was interrupted and hasn't raised the exception.
    pub fn is_interrupted(&self) -> bool {
        self.inner.lock().running.is_interrupted()
    }

    /// Wakes the context thread: something that a job waits for may have happened.
    pub fn wake(&self) {
        let sleeper = self.inner.lock().record_event(&self.events);
        unpark(sleeper);
    }

    // What follows is for the context thread alone.

    /// What to do next.
    pub fn next(&self) -> Next<J, C> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        if !inner.control.is_empty() {
            self.approx_len.fetch_sub(inner.control.len(), Ordering::Relaxed);
            return Next::Control(std::mem::take(&mut inner.control));
        }
        if let Some((seq, job)) = inner.start(0) {
            self.approx_len.fetch_sub(1, Ordering::Relaxed);
            return Next::Run(seq, job);
        }
        if inner.closed { Next::Closed } else { Next::Empty }
    }

    /// What to do while the current job waits: as [`Mailbox::next`], but a job that is `needed`
    /// comes first, others as `policy` says, and none once the waiting job was interrupted. Control
    /// messages are handled nested in that job until [`Mailbox::end_control`].
    pub fn next_nested(
        &self,
        needed: impl Fn(&J) -> bool,
        policy: NestedPolicy<J>,
    ) -> NestedNext<J, C> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        if inner.running.take_interrupt() {
            return NestedNext::Interrupted;
        }
        if !inner.control.is_empty() {
            inner.running.begin_finalizers();
            self.approx_len.fetch_sub(inner.control.len(), Ordering::Relaxed);
            return NestedNext::Control(std::mem::take(&mut inner.control));
        }
        let place = policy.choose(&inner.queue, inner.running.innermost(), needed);
        if let Some((seq, job)) = place.and_then(|place| inner.start(place)) {
            self.approx_len.fetch_sub(1, Ordering::Relaxed);
            return NestedNext::Run(seq, job);
        }
        NestedNext::Nothing { as_of: inner.events, jobs: !inner.queue.is_empty() }
    }

    /// The control messages of [`Mailbox::next_nested`] have been handled.
    pub fn end_control(&self) {
        self.inner.lock().running.end_finalizers();
    }

    /// Whether the current job was interrupted. Forgets it: the caller raises the exception.
    pub fn take_interrupt(&self) -> bool {
        self.inner.lock().running.take_interrupt()
    }

    /// The thread has no asynchronous exception to raise: the current job has raised what was meant
    /// for it, and may wait again as it cleans up.
    pub fn note_raised(&self) {
        self.inner.lock().running.take_interrupt();
    }

    /// Ends the innermost running job. `true`: it was interrupted, and may not have raised the
    /// exception.
    pub fn end_running(&self) -> bool {
        let mut inner = self.inner.lock();
        let was_interrupted = inner.running.pop();
        self.publish_load(&inner);
        was_interrupted
    }

    /// The current job is about to be answered, and ends soon: for the load it has ended. Otherwise
    /// a caller that gets its answer and calls again at once would find its context busy. Once per
    /// job.
    pub fn note_answered(&self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes in nothing any more, and gives back the control messages that are left. The last thing
    /// that the context thread does here, once the mailbox is closed.
    pub fn end(&self) -> Vec<C> {
        let mut inner = self.inner.lock();
        inner.ended = true;
        std::mem::take(&mut inner.control)
    }

    /// Whether there seems to be nothing to take. A hint for spinning; only `next` knows.
    pub fn looks_empty(&self) -> bool {
        self.approx_len.load(Ordering::Relaxed) == 0
    }

    /// Whether anything has happened since. For spinning.
    pub fn has_event_since(&self, as_of: usize) -> bool {
        self.events.load(Ordering::Acquire) != as_of
    }

    /// Sleeps until something has happened since, for `max` at most. May return early.
    pub fn park_until_event(&self, as_of: usize, max: Option<Duration>) {
        {
            let mut inner = self.inner.lock();
            if inner.events != as_of {
                return;
            }
            inner.parked = Some(Sleeper::Parks(current()));
        }
        match max {
            Some(max) => park_timeout(max),
            None => park(),
        }
    }

    /// Sleeps until there is something to take, or the mailbox is closed.
    pub fn park(&self) {
        while self.prepare_to_park() {
            park();
        }
    }

    /// As [`Mailbox::park`], for `max` at most. May return early.
    pub fn park_at_most(&self, max: Duration) {
        if self.prepare_to_park() {
            park_timeout(max);
        }
    }

    /// Registers this thread to be woken, if there is nothing to take. `false`: there is.
    fn prepare_to_park(&self) -> bool {
        let mut inner = self.inner.lock();
        let is_idle = inner.queue.is_empty() && inner.control.is_empty() && !inner.closed;
        inner.parked = is_idle.then(|| Sleeper::Parks(current()));
        is_idle
    }
}

fn unpark(sleeper: Option<Sleeper>) {
    match sleeper {
        Some(Sleeper::Parks(thread)) => thread.unpark(),
        Some(Sleeper::Polls(event)) => event.notify(),
        None => (),
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
