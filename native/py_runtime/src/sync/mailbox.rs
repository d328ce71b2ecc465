//! A context's mailbox: a bounded queue before a single owner.
//!
//! Any thread pushes, cancels and closes; only the context thread takes. One mutex guards the
//! queue, the jobs being run and the parked flag together. That is what makes the hard questions
//! easy: a job is always either in the queue or among the running ones, so a cancellation never
//! falls between the two; and a producer sees the flag that the consumer set before it looked at
//! the queue for the last time, so no wake-up is lost. The lock is held for a few dozen
//! instructions and never while Python is attached or dropped; each context has its own.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::sync::{AtomicUsize, Mutex, Ordering, Thread, current, park, park_timeout};

/// Number of a job within its context, in the order of arrival.
pub type Seq = u64;

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
pub enum Next<J, R> {
    /// Run this job; it counts as running until the next call.
    Run(Seq, J),
    /// Let go of these first.
    Control(Vec<R>),
    /// Nothing to do.
    Empty,
    /// Closed, and nothing is left: end.
    Closed,
}

/// What the context thread does while its innermost job waits for something else.
#[derive(Debug, PartialEq, Eq)]
pub enum NestedNext<J, R> {
    /// The waiting job was struck: it must not wait on.
    Interrupted,
    /// Run this job on top of it; it counts as running until [`Mailbox::end_running`].
    Run(Seq, J),
    /// Let go of these first.
    Control(Vec<R>),
    /// Nothing to do, as of this count of events.
    Nothing {
        /// For [`Mailbox::has_event_since`] and [`Mailbox::park_until_event`].
        as_of: usize,
        /// Jobs wait that may not run now.
        jobs: bool,
    },
}

/// Which jobs the context thread may take up while one waits that may not need them.
#[derive(Clone, Copy, Debug)]
pub enum NestedPolicy<J> {
    /// None.
    None,
    /// Any, in the order of arrival.
    OldestFirst(JobRelation<J>),
    /// Any, beginning with those of the caller that came last.
    NewestFirst(JobRelation<J>),
}

/// What two jobs may have in common.
#[derive(Clone, Copy, Debug)]
pub struct JobRelation<J> {
    /// One caller, whose own order is kept.
    pub same_caller: fn(&J, &J) -> bool,
    /// The same work. What does the same as the job that waits will probably wait too, and comes after
    /// what doesn't.
    pub same_work: fn(&J, &J) -> bool,
}

/// How many of the last jobs are looked through for one in particular, under the lock.
const RECENT: usize = 256;

/// A job in the hands of the context thread.
#[derive(Debug)]
struct RunningJob<J> {
    seq: Seq,
    job: J,
    /// It is to raise an exception and hasn't yet, as far as anybody has looked.
    interrupt_pending: bool,
    /// Whether an exception was ever meant for it.
    was_interrupted: bool,
    /// Since when it has been struck at, as the innermost.
    interrupted_at: Option<Instant>,
    /// How many times the owner lets go of something on top of it, while it waits.
    finalizers: u32,
}

#[derive(Debug)]
struct Inner<J, R> {
    /// In the order of their numbers.
    queue: VecDeque<(Seq, J)>,
    /// The number of the next job to come.
    next: Seq,
    /// Innermost last: a job that calls back into Erlang may have others run meanwhile.
    running: Vec<RunningJob<J>>,
    control: Vec<R>,
    /// No more jobs are taken in.
    closed: bool,
    /// Nothing at all is taken in: the owner won't look again.
    ended: bool,
    parked: Option<Thread>,
    /// How often something happened that the owner may want to know.
    events: usize,
}

impl<J, R> Inner<J, R> {
    /// Takes a job from its place in the queue among the running ones.
    fn start(&mut self, place: usize) -> Option<(Seq, J)>
    where
        J: Clone,
    {
        let (seq, job) = self.queue.remove(place)?;
        self.running.push(RunningJob {
            seq,
            job: job.clone(),
            interrupt_pending: false,
            was_interrupted: false,
            interrupted_at: None,
            finalizers: 0,
        });
        Some((seq, job))
    }

    /// The job that the owner is at. None if it lets go of something, be it on top of a job.
    fn current(&mut self) -> Option<&mut RunningJob<J>> {
        self.running.last_mut().filter(|running| running.finalizers == 0)
    }

    fn take_interrupt(&mut self) -> bool {
        self.current().is_some_and(|innermost| std::mem::take(&mut innermost.interrupt_pending))
    }
}

/// The mailbox. `J` is a job, `R` something that only the context thread may let go of.
#[derive(Debug)]
pub struct Mailbox<J, R> {
    inner: Mutex<Inner<J, R>>,
    /// Things to take, as a hint that can be read without the lock while spinning.
    approx_len: AtomicUsize,
    /// `Inner::events`, readable without the lock while spinning.
    events: AtomicUsize,
    /// Jobs that wait or run and aren't answered, for [`Mailbox::load`].
    load: AtomicUsize,
    max_queue: usize,
}

impl<J: Clone, R> Mailbox<J, R> {
    /// An open, empty mailbox for at most `max_queue` waiting jobs.
    pub fn new(max_queue: usize) -> Self {
        Mailbox {
            inner: Mutex::new(Inner {
                queue: VecDeque::new(),
                next: 0,
                running: Vec::new(),
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
    /// counted or not. One that was answered counts no more, see [`Mailbox::note_answered`].
    pub fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Publishes the load, after the queue or the running jobs have changed.
    fn publish_load(&self, inner: &Inner<J, R>) {
        self.load.store(inner.queue.len() + inner.running.len(), Ordering::Relaxed);
    }

    /// Takes a job in. Wakes the context thread only if it sleeps.
    pub fn push(&self, job: J) -> Result<Seq, PushError<J>> {
        let (seq, sleeper) = {
            let mut inner = self.inner.lock();
            if inner.closed {
                return Err(PushError::Closed(job));
            }
            if inner.queue.len() >= self.max_queue {
                return Err(PushError::Full { job, queue: inner.queue.len() });
            }
            let seq = inner.next;
            inner.next += 1;
            inner.queue.push_back((seq, job));
            self.publish_load(&inner);
            self.approx_len.fetch_add(1, Ordering::Relaxed);
            (seq, self.record_event(&mut inner))
        };
        unpark(sleeper);
        Ok(seq)
    }

    /// Hands something over to be let go of by the context thread. A closed mailbox still takes
    /// it, because a job that runs still holds the owner; one that has ended gives it back.
    pub fn push_control(&self, message: R) -> Result<(), R> {
        let sleeper = {
            let mut inner = self.inner.lock();
            if inner.ended {
                return Err(message);
            }
            inner.control.push(message);
            self.approx_len.fetch_add(1, Ordering::Relaxed);
            self.record_event(&mut inner)
        };
        unpark(sleeper);
        Ok(())
    }

    /// Takes the job numbered `seq`, so that its request can be cancelled: out of the queue if it
    /// waits there, a second handle on it if it runs. `None`: it has ended.
    pub fn take(&self, seq: Seq) -> Option<J> {
        let mut inner = self.inner.lock();
        if let Some(running) = inner.running.iter().find(|running| running.seq == seq) {
            return Some(running.job.clone());
        }
        // No hole is left: a context that is stuck while its callers give up must not grow.
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
            (jobs, self.record_event(&mut inner))
        };
        unpark(sleeper);
        jobs.into_iter().map(|(_, job)| job).collect()
    }

    /// Refuses new jobs, but lets the waiting ones run: the owner finds it closed after them.
    pub fn drain(&self) {
        let sleeper = {
            let mut inner = self.inner.lock();
            inner.closed = true;
            self.approx_len.fetch_add(1, Ordering::Relaxed);
            self.record_event(&mut inner)
        };
        unpark(sleeper);
    }

    /// Whether the mailbox was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }

    /// The jobs being run, outermost first.
    pub fn running(&self) -> Vec<(Seq, J)> {
        self.inner.lock().running.iter().map(|running| (running.seq, running.job.clone())).collect()
    }

    /// Whether job `seq` is being run, so that it can be struck; notes since when it is. Not by an
    /// owner that is gone: a panic leaves jobs behind.
    pub fn mark_interrupt(&self, seq: Seq) -> bool {
        let mut inner = self.inner.lock();
        if let Some(innermost) = inner.current()
            && innermost.seq == seq
        {
            innermost.interrupted_at.get_or_insert_with(Instant::now);
        }
        !inner.ended && inner.running.iter().any(|running| running.seq == seq)
    }

    /// For how long the innermost running job has been struck at.
    pub fn interrupted_for(&self) -> Option<Duration> {
        let mut inner = self.inner.lock();
        let since =
            inner.current().and_then(|running| running.interrupted_at).filter(|_| !inner.ended);
        since.map(|since| since.elapsed())
    }

    /// The number of the innermost running job. None if the owner is at something else, be it on top of
    /// a job, or gone.
    pub fn current(&self) -> Option<Seq> {
        let mut inner = self.inner.lock();
        inner.current().map(|running| running.seq).filter(|_| !inner.ended)
    }

    /// Closes the mailbox and moves what waits to another, in order and with its numbers. What is
    /// pushed here afterwards finds it closed, and what `moved` has done: that happens before
    /// anybody can. `false`: nothing has changed, one of the two is closed.
    pub fn move_to(&self, other: &Self, moved: impl FnOnce()) -> bool {
        if std::ptr::eq(self, other) {
            return false;
        }
        let sleepers = {
            // By their addresses, so that two which are moved to each other don't wait for each other.
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

    /// Interrupts the running job `seq`. If it is the innermost, `set` is struck, under the lock,
    /// so that the job can't end in between and leave the blow to its successor. Any other waits
    /// for what is above it to end: it is only noted, and seen when its wait goes on, see
    /// [`Mailbox::next_nested`]. `true`: the blow was struck.
    pub fn interrupt(&self, seq: Seq, set: impl FnOnce()) -> bool {
        let (is_set, sleeper) = {
            let mut inner = self.inner.lock();
            let Some(place) = inner.running.iter().position(|running| running.seq == seq) else {
                return false;
            };
            inner.running[place].interrupt_pending = true;
            inner.running[place].was_interrupted = true;
            let innermost = inner.current().is_some_and(|innermost| innermost.seq == seq);
            if innermost {
                set();
            }
            (innermost, self.record_event(&mut inner))
        };
        unpark(sleeper);
        is_set
    }

    /// Interrupts what the owner is at that is no job: runs `deliver`, told whether no job is on top of
    /// that, under the lock, so that this can't change in between.
    pub fn interrupt_housekeeping(&self, deliver: impl FnOnce(bool) -> bool) -> bool {
        let (is_set, sleeper) = {
            let mut inner = self.inner.lock();
            let is_innermost = inner.current().is_none();
            (deliver(is_innermost), self.record_event(&mut inner))
        };
        unpark(sleeper);
        is_set
    }

    /// Has the owner look around: something that it waits for besides the mailbox has happened.
    pub fn wake(&self) {
        let sleeper = {
            let mut inner = self.inner.lock();
            self.record_event(&mut inner)
        };
        unpark(sleeper);
    }

    /// Counts an event; returns the owner, if it sleeps and has to be woken.
    fn record_event(&self, inner: &mut Inner<J, R>) -> Option<Thread> {
        inner.events = inner.events.wrapping_add(1);
        self.events.store(inner.events, Ordering::Release);
        inner.parked.take()
    }

    // What follows is for the context thread alone.

    /// What to do next.
    pub fn next(&self) -> Next<J, R> {
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

    /// What to do while the innermost job waits: as [`Mailbox::next`], but a job that is `needed`
    /// comes first, `others` only as that says, and none once the waiting job was struck. What is to be
    /// let go of is on top of that job until [`Mailbox::end_control`].
    pub fn next_nested(
        &self,
        needed: impl Fn(&J) -> bool,
        others: NestedPolicy<J>,
    ) -> NestedNext<J, R> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        if inner.take_interrupt() {
            return NestedNext::Interrupted;
        }
        if !inner.control.is_empty() {
            if let Some(waiting) = inner.running.last_mut() {
                waiting.finalizers += 1;
            }
            self.approx_len.fetch_sub(inner.control.len(), Ordering::Relaxed);
            return NestedNext::Control(std::mem::take(&mut inner.control));
        }
        let recent = inner.queue.len().saturating_sub(RECENT);
        let position = |is_it: &dyn Fn(&J) -> bool| {
            let found = inner.queue.range(recent..).position(|(_, job)| is_it(job));
            found.map(|place| recent + place)
        };
        let differs = |relation: &JobRelation<J>, job: &J| {
            let waiting = inner.running.last();
            !waiting.is_some_and(|waiting| (relation.same_work)(&waiting.job, job))
        };
        let place = position(&needed).or_else(|| match others {
            NestedPolicy::None => None,
            NestedPolicy::OldestFirst(relation) => {
                let queue = || inner.queue.iter().take(RECENT);
                let (_, chosen) =
                    queue().find(|(_, job)| differs(&relation, job)).or(queue().next())?;
                queue().position(|(_, job)| (relation.same_caller)(job, chosen))
            }
            NestedPolicy::NewestFirst(relation) => {
                let queue = || inner.queue.range(recent..).rev();
                let (_, chosen) =
                    queue().find(|(_, job)| differs(&relation, job)).or(queue().next())?;
                position(&|job| (relation.same_caller)(job, chosen))
            }
        });
        if let Some((seq, job)) = place.and_then(|place| inner.start(place)) {
            self.approx_len.fetch_sub(1, Ordering::Relaxed);
            return NestedNext::Run(seq, job);
        }
        NestedNext::Nothing { as_of: inner.events, jobs: !inner.queue.is_empty() }
    }

    /// Whether the innermost job was struck. Forgets it: whoever asks raises the exception.
    pub fn take_interrupt(&self) -> bool {
        self.inner.lock().take_interrupt()
    }

    /// The thread has no asynchronous exception to raise: the innermost job has raised what was meant for
    /// it, and may wait again as it cleans up.
    pub fn note_raised(&self) {
        if let Some(innermost) = self.inner.lock().current() {
            innermost.interrupt_pending = false;
        }
    }

    /// Whether the running job `seq` has still to raise an exception that was meant for it.
    pub fn has_to_raise(&self, seq: Seq) -> bool {
        self.inner
            .lock()
            .running
            .iter()
            .any(|running| running.seq == seq && running.interrupt_pending)
    }

    /// Whether the innermost job was struck.
    pub fn is_interrupted(&self) -> bool {
        self.inner.lock().current().is_some_and(|innermost| innermost.interrupt_pending)
    }

    /// Whether anything has happened since. For spinning.
    pub fn has_event_since(&self, as_of: usize) -> bool {
        self.events.load(Ordering::Acquire) != as_of
    }

    /// Sleeps until something has happened since, at most for so long. May return early.
    pub fn park_until_event(&self, as_of: usize, at_most: Option<Duration>) {
        {
            let mut inner = self.inner.lock();
            if inner.events != as_of {
                return;
            }
            inner.parked = Some(current());
        }
        match at_most {
            Some(time) => park_timeout(time),
            None => park(),
        }
    }

    /// What [`Mailbox::next_nested`] gave to be let go of is gone: back to what is below it.
    pub fn end_control(&self) {
        if let Some(waiting) = self.inner.lock().running.last_mut() {
            waiting.finalizers -= 1;
        }
    }

    /// Ends the innermost running job. `true`: it was interrupted, and may not have raised the exception.
    pub fn end_running(&self) -> bool {
        let mut inner = self.inner.lock();
        let ended = inner.running.pop();
        self.publish_load(&inner);
        ended.is_some_and(|running| running.was_interrupted)
    }

    /// The innermost running job is about to be answered, and ends soon: to whoever looks for an
    /// idle context it is over. Else a caller that gets its answer and asks again at once would find
    /// its context busy. Once per job.
    pub fn note_answered(&self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes in nothing any more, and gives back what is still to be let go of. The last thing that
    /// the context thread does here, once closed.
    pub fn end(&self) -> Vec<R> {
        let mut inner = self.inner.lock();
        inner.ended = true;
        std::mem::take(&mut inner.control)
    }

    /// Whether there may be something to take. A hint for spinning; only `next` knows.
    pub fn looks_empty(&self) -> bool {
        self.approx_len.load(Ordering::Relaxed) == 0
    }

    /// Sleeps until there is something to take, or the mailbox is closed.
    pub fn park(&self) {
        while self.is_parked() {
            park();
        }
    }

    /// As [`Mailbox::park`], but not for long.
    pub fn park_at_most(&self, time: Duration) {
        if self.is_parked() {
            park_timeout(time);
        }
    }

    /// Whether there is nothing to take; then whoever brings something wakes this thread.
    fn is_parked(&self) -> bool {
        let mut inner = self.inner.lock();
        let is_idle = inner.queue.is_empty() && inner.control.is_empty() && !inner.closed;
        inner.parked = is_idle.then(current);
        is_idle
    }
}

fn unpark(sleeper: Option<Thread>) {
    if let Some(thread) = sleeper {
        thread.unpark();
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    fn mailbox(max: usize) -> Mailbox<u32, ()> {
        Mailbox::new(max)
    }

    const OLDEST: NestedPolicy<u32> = NestedPolicy::OldestFirst(JobRelation {
        same_caller: |one, other| one == other,
        same_work: |_, _| false,
    });

    #[test]
    fn the_load_counts_what_waits_and_runs_but_not_what_is_answered() {
        let mailbox = mailbox(10);
        assert_eq!(mailbox.load(), 0);
        (1..=3).for_each(|job| drop(mailbox.push(job)));
        assert_eq!(mailbox.load(), 3);
        assert!(matches!(mailbox.next(), Next::Run(0, 1)));
        assert_eq!(mailbox.load(), 3);
        mailbox.note_answered();
        assert_eq!(mailbox.load(), 2);
        mailbox.end_running();
        assert_eq!(mailbox.load(), 2);
        assert_eq!(mailbox.take(1), Some(2));
        assert_eq!(mailbox.load(), 1);
        mailbox.close();
        assert_eq!(mailbox.load(), 0);
    }

    #[test]
    fn the_load_moves_along_with_the_jobs() {
        let (from, to) = (mailbox(10), mailbox(10));
        (1..=3).for_each(|job| drop(from.push(job)));
        assert!(matches!(from.next(), Next::Run(..)));
        assert!(from.move_to(&to, || ()));
        assert_eq!((from.load(), to.load()), (1, 2));
    }

    #[test]
    fn jobs_come_out_in_order() {
        let mailbox = mailbox(8);
        assert_eq!(mailbox.push(10), Ok(0));
        assert_eq!(mailbox.push(11), Ok(1));
        assert_eq!(mailbox.next(), Next::Run(0, 10));
        assert_eq!(mailbox.next(), Next::Run(1, 11));
        assert_eq!(mailbox.next(), Next::Empty);
    }

    #[test]
    fn a_full_queue_refuses_and_gives_the_job_back() {
        let mailbox = mailbox(1);
        assert_eq!(mailbox.push(1), Ok(0));
        assert_eq!(mailbox.push(2), Err(PushError::Full { job: 2, queue: 1 }));
    }

    #[test]
    fn a_cancelled_job_makes_room_and_never_comes_out() {
        let mailbox = mailbox(2);
        let first = mailbox.push(1).unwrap();
        mailbox.push(2).unwrap();
        assert_eq!(mailbox.take(first), Some(1));
        assert_eq!(mailbox.take(first), None);
        assert_eq!(mailbox.push(3), Ok(2));
        assert_eq!(mailbox.next(), Next::Run(1, 2));
        assert_eq!(mailbox.next(), Next::Run(2, 3));
    }

    #[test]
    fn cancelled_jobs_leave_nothing_behind() {
        let mailbox = mailbox(2);
        mailbox.push(0).unwrap();
        for job in 1..100 {
            let seq = mailbox.push(job).unwrap();
            assert_eq!(mailbox.take(seq), Some(job));
        }
        assert_eq!(mailbox.inner.lock().queue.len(), 1);
        assert_eq!(mailbox.next(), Next::Run(0, 0));
        assert!(mailbox.looks_empty());
    }

    #[test]
    fn releases_are_taken_in_until_the_end() {
        let mailbox = mailbox(2);
        mailbox.drain();
        assert_eq!(mailbox.push_control(()), Ok(()));
        assert_eq!(mailbox.next(), Next::Control(vec![()]));
        assert_eq!(mailbox.next(), Next::Closed);
        assert_eq!(mailbox.push_control(()), Ok(()));
        assert_eq!(mailbox.end(), vec![()]);
        assert_eq!(mailbox.push_control(()), Err(()));
    }

    #[test]
    fn a_running_job_is_found_until_it_ends() {
        let mailbox = mailbox(2);
        let seq = mailbox.push(7).unwrap();
        mailbox.next();
        assert_eq!(mailbox.take(seq), Some(7));
        assert!(!mailbox.end_running());
        assert_eq!(mailbox.take(seq), None);
    }

    #[test]
    fn a_strike_hits_only_the_job_it_was_meant_for() {
        let mailbox = mailbox(2);
        let first = mailbox.push(1).unwrap();
        let second = mailbox.push(2).unwrap();
        mailbox.next();
        assert!(!mailbox.interrupt(second, || panic!("not running yet")));
        assert!(mailbox.interrupt(first, || ()));
        assert!(mailbox.end_running());
        mailbox.next();
        assert!(!mailbox.interrupt(first, || panic!("ended")));
        assert!(!mailbox.end_running());
    }

    #[test]
    fn a_job_that_has_raised_its_interrupt_may_wait_and_is_known_to_have_been_interrupted() {
        let mailbox = mailbox(2);
        let seq = mailbox.push(1).unwrap();
        mailbox.next();
        assert!(mailbox.interrupt(seq, || ()));
        assert!(mailbox.has_to_raise(seq));
        mailbox.note_raised();
        assert!(!mailbox.has_to_raise(seq));
        let meanwhile = mailbox.next_nested(|_| false, NestedPolicy::None);
        assert!(matches!(meanwhile, NestedNext::Nothing { .. }));
        assert!(mailbox.interrupt(seq, || ()));
        assert_eq!(mailbox.next_nested(|_| false, NestedPolicy::None), NestedNext::Interrupted);
        assert!(mailbox.end_running());
    }

    #[test]
    fn what_the_innermost_has_raised_leaves_what_those_below_have_to_raise() {
        let mailbox = mailbox(2);
        let below = mailbox.push(1).unwrap();
        let above = mailbox.push(2).unwrap();
        mailbox.next();
        assert_eq!(mailbox.next_nested(|_| false, OLDEST), NestedNext::Run(1, 2));
        assert!(!mailbox.interrupt(below, || panic!("it isn't the innermost")));
        assert!(mailbox.interrupt(above, || ()));
        mailbox.note_raised();
        assert!(mailbox.has_to_raise(below) && !mailbox.has_to_raise(above));
    }

    #[test]
    fn a_waiting_job_has_the_needed_one_run_first_and_others_as_it_says() {
        let mailbox = mailbox(8);
        for job in 0..5 {
            mailbox.push(job).unwrap();
        }
        assert_eq!(mailbox.next(), Next::Run(0, 0));
        let meanwhile = |needed, others| mailbox.next_nested(|job| *job == needed, others);
        assert!(matches!(meanwhile(9, NestedPolicy::None), NestedNext::Nothing { jobs: true, .. }));
        assert_eq!(meanwhile(3, NestedPolicy::None), NestedNext::Run(3, 3));
        assert_eq!(meanwhile(9, OLDEST), NestedNext::Run(1, 1));
        let newest = NestedPolicy::NewestFirst(JobRelation {
            same_caller: |one, other| one % 2 == other % 2,
            same_work: |_, _| false,
        });
        assert_eq!(meanwhile(9, newest), NestedNext::Run(2, 2));
        assert_eq!(meanwhile(9, newest), NestedNext::Run(4, 4));
        assert!(matches!(meanwhile(9, OLDEST), NestedNext::Nothing { jobs: false, .. }));
    }

    #[test]
    fn what_differs_from_the_job_that_waits_goes_before_what_does_the_same() {
        let mailbox = mailbox(8);
        for job in [10, 11, 12, 23, 33, 14] {
            mailbox.push(job).unwrap();
        }
        assert_eq!(mailbox.next(), Next::Run(0, 10));
        let relation = JobRelation {
            same_caller: |one, other| one % 10 == other % 10,
            same_work: |one, other| one / 10 == other / 10,
        };
        let meanwhile = |others| {
            let chosen = mailbox.next_nested(|_| false, others);
            assert!(!mailbox.end_running());
            chosen
        };
        // Of one caller the older comes first all the same.
        assert_eq!(meanwhile(NestedPolicy::NewestFirst(relation)), NestedNext::Run(3, 23));
        assert_eq!(meanwhile(NestedPolicy::OldestFirst(relation)), NestedNext::Run(4, 33));
        assert_eq!(meanwhile(NestedPolicy::OldestFirst(relation)), NestedNext::Run(1, 11));
        assert_eq!(meanwhile(NestedPolicy::NewestFirst(relation)), NestedNext::Run(5, 14));
    }

    #[test]
    fn a_strike_waits_for_what_is_let_go_of_on_top_of_its_job() {
        let mailbox = mailbox(8);
        let waiting = mailbox.push(1).unwrap();
        assert_eq!(mailbox.next(), Next::Run(0, 1));
        assert!(!mailbox.interrupt_housekeeping(|is_innermost| is_innermost));
        mailbox.push_control(()).unwrap();
        assert_eq!(mailbox.next_nested(|_| false, OLDEST), NestedNext::Control(vec![()]));
        assert_eq!(mailbox.current(), None);
        assert!(!mailbox.interrupt(waiting, || panic!("it isn't the innermost")));
        assert!(mailbox.mark_interrupt(waiting));
        assert_eq!(mailbox.interrupted_for(), None);
        assert!(mailbox.interrupt_housekeeping(|is_innermost| is_innermost));
        // What waits up there is not the job that was struck.
        assert!(matches!(mailbox.next_nested(|_| false, OLDEST), NestedNext::Nothing { .. }));
        mailbox.end_control();
        assert_eq!(mailbox.current(), Some(waiting));
        assert_eq!(mailbox.next_nested(|_| false, OLDEST), NestedNext::Interrupted);
    }

    #[test]
    fn a_strike_below_is_seen_when_those_above_have_ended() {
        let mailbox = mailbox(8);
        let below = mailbox.push(1).unwrap();
        mailbox.push(2).unwrap();
        mailbox.next();
        assert_eq!(mailbox.next_nested(|_| false, OLDEST), NestedNext::Run(1, 2));
        assert!(!mailbox.interrupt(below, || panic!("it isn't the innermost")));
        assert!(!mailbox.is_interrupted());
        assert!(!mailbox.end_running());
        assert_eq!(mailbox.next_nested(|_| false, OLDEST), NestedNext::Interrupted);
        assert!(!mailbox.take_interrupt());
    }

    #[test]
    fn closing_returns_what_waits_and_refuses_what_comes() {
        let mailbox = mailbox(4);
        for job in 1..=3 {
            mailbox.push(job).unwrap();
        }
        mailbox.next();
        assert_eq!(mailbox.close(), vec![2, 3]);
        assert_eq!(mailbox.push(4), Err(PushError::Closed(4)));
        assert_eq!(mailbox.next(), Next::Closed);
    }

    #[test]
    fn draining_refuses_what_comes_and_runs_what_waits() {
        let mailbox = mailbox(4);
        mailbox.push(1).unwrap();
        mailbox.drain();
        assert_eq!(mailbox.push(2), Err(PushError::Closed(2)));
        assert_eq!(mailbox.next(), Next::Run(0, 1));
        assert_eq!(mailbox.next(), Next::Closed);
    }

    /// Has an owner that sleeps look for something, and says whether `happens` has woken it.
    fn wakes(
        sleep: impl Fn(&Mailbox<u32, ()>) + Send + 'static,
        is_there: impl Fn(&Mailbox<u32, ()>) -> bool + Send + 'static,
        happens: impl FnOnce(&Mailbox<u32, ()>),
    ) -> bool {
        let mailbox = std::sync::Arc::new(mailbox(4));
        mailbox.push(1).unwrap();
        mailbox.next();
        let (woken, is_woken) = std::sync::mpsc::channel();
        let owners = std::sync::Arc::clone(&mailbox);
        std::thread::spawn(move || {
            while !is_there(&owners) {
                sleep(&owners);
            }
            woken.send(()).unwrap();
        });
        while mailbox.inner.lock().parked.is_none() {
            std::thread::yield_now();
        }
        happens(&mailbox);
        is_woken.recv_timeout(Duration::from_secs(10)).is_ok()
    }

    #[test]
    fn a_release_wakes_an_owner_that_sleeps() {
        let has_releases = |mailbox: &Mailbox<u32, ()>| !mailbox.inner.lock().control.is_empty();
        let release = |mailbox: &Mailbox<u32, ()>| mailbox.push_control(()).unwrap();
        assert!(wakes(Mailbox::park, has_releases, release));
    }

    #[test]
    fn an_interrupt_wakes_an_owner_whose_job_waits() {
        // One event so far: the job itself.
        let sleep = |mailbox: &Mailbox<u32, ()>| mailbox.park_until_event(1, None);
        let is_interrupted = |mailbox: &Mailbox<u32, ()>| mailbox.is_interrupted();
        assert!(wakes(sleep, is_interrupted, |mailbox| assert!(mailbox.interrupt(0, || ()))));
    }

    #[test]
    fn what_comes_after_a_move_is_refused_here_and_numbered_on_there() {
        let (old, new) = (mailbox(4), mailbox(4));
        for job in 1..=3 {
            old.push(job).unwrap();
        }
        assert_eq!(old.next(), Next::Run(0, 1));
        assert!(old.move_to(&new, || ()));
        assert_eq!(old.push(4), Err(PushError::Closed(4)));
        assert_eq!(new.push(4), Ok(3));
        for (seq, job) in [(1, 2), (2, 3), (3, 4)] {
            assert_eq!(new.next(), Next::Run(seq, job));
        }
    }

    #[test]
    fn a_parked_owner_is_woken_by_a_push() {
        let mailbox = std::sync::Arc::new(mailbox(1));
        let owner = {
            let mailbox = std::sync::Arc::clone(&mailbox);
            std::thread::spawn(move || {
                mailbox.park();
                mailbox.next()
            })
        };
        mailbox.push(5).unwrap();
        assert_eq!(owner.join().unwrap(), Next::Run(0, 5));
    }
}
