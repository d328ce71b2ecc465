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
pub enum Refused<J> {
    /// The queue is full.
    Overloaded {
        /// The job.
        job: J,
        /// Jobs waiting now.
        queue: usize,
    },
    /// The mailbox is closed.
    Closed(J),
    /// Too many threads of the pool are stuck. Said by the context, not by its mailbox.
    Quarantined(J),
}

/// What the context thread does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<J, R> {
    /// Run this job; it counts as running until the next call.
    Run(Seq, J),
    /// Let go of these first.
    Release(Vec<R>),
    /// Nothing to do.
    Empty,
    /// Closed, and nothing is left: end.
    Closed,
}

/// What the context thread does while its innermost job waits for something else.
#[derive(Debug, PartialEq, Eq)]
pub enum Meanwhile<J, R> {
    /// The waiting job was struck: it must not wait on.
    Struck,
    /// Run this job on top of it; it counts as running until [`Mailbox::end_running`].
    Run(Seq, J),
    /// Let go of these first.
    Release(Vec<R>),
    /// Nothing to do, as of this count of events.
    Nothing {
        /// For [`Mailbox::has_news`] and [`Mailbox::park_for_news`].
        as_of: usize,
        /// Jobs wait that may not run now.
        jobs: bool,
    },
}

/// Which jobs the context thread may take up while one waits that may not need them.
#[derive(Clone, Copy, Debug)]
pub enum Others<J> {
    /// None.
    None,
    /// Any, in the order of arrival.
    OldestFirst(Kinship<J>),
    /// Any, beginning with those of the caller that came last.
    NewestFirst(Kinship<J>),
}

/// What two jobs may have in common.
#[derive(Clone, Copy, Debug)]
pub struct Kinship<J> {
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
struct Running<J> {
    seq: Seq,
    job: J,
    /// It is to raise an exception and hasn't yet, as far as anybody has looked.
    interrupted: bool,
    /// Whether an exception was ever meant for it.
    was_interrupted: bool,
    /// Since when it has been struck at, as the innermost.
    struck: Option<Instant>,
    /// How many times the owner lets go of something on top of it, while it waits.
    releasing: u32,
}

#[derive(Debug)]
struct Inner<J, R> {
    /// In the order of their numbers.
    queue: VecDeque<(Seq, J)>,
    /// The number of the next job to come.
    next: Seq,
    /// Innermost last: a job that calls back into Erlang may have others run meanwhile.
    running: Vec<Running<J>>,
    releases: Vec<R>,
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
        self.running.push(Running {
            seq,
            job: job.clone(),
            interrupted: false,
            was_interrupted: false,
            struck: None,
            releasing: 0,
        });
        Some((seq, job))
    }

    /// The job that the owner is at. None if it lets go of something, be it on top of a job.
    fn innermost(&mut self) -> Option<&mut Running<J>> {
        self.running.last_mut().filter(|running| running.releasing == 0)
    }

    fn take_strike(&mut self) -> bool {
        self.innermost().is_some_and(|innermost| std::mem::take(&mut innermost.interrupted))
    }
}

/// The mailbox. `J` is a job, `R` something that only the context thread may let go of.
#[derive(Debug)]
pub struct Mailbox<J, R> {
    inner: Mutex<Inner<J, R>>,
    /// Things to take, as a hint that can be read without the lock while spinning.
    hint: AtomicUsize,
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
                releases: Vec::new(),
                closed: false,
                ended: false,
                parked: None,
                events: 0,
            }),
            hint: AtomicUsize::new(0),
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
    fn note_load(&self, inner: &Inner<J, R>) {
        self.load.store(inner.queue.len() + inner.running.len(), Ordering::Relaxed);
    }

    /// Takes a job in. Wakes the context thread only if it sleeps.
    pub fn push(&self, job: J) -> Result<Seq, Refused<J>> {
        let (seq, sleeper) = {
            let mut inner = self.inner.lock();
            if inner.closed {
                return Err(Refused::Closed(job));
            }
            if inner.queue.len() >= self.max_queue {
                return Err(Refused::Overloaded { job, queue: inner.queue.len() });
            }
            let seq = inner.next;
            inner.next += 1;
            inner.queue.push_back((seq, job));
            self.note_load(&inner);
            self.hint.fetch_add(1, Ordering::Relaxed);
            (seq, self.note(&mut inner))
        };
        wake(sleeper);
        Ok(seq)
    }

    /// Hands something over to be let go of by the context thread. A closed mailbox still takes
    /// it, because a job that runs still holds the owner; one that has ended gives it back.
    pub fn push_release(&self, release: R) -> Result<(), R> {
        let sleeper = {
            let mut inner = self.inner.lock();
            if inner.ended {
                return Err(release);
            }
            inner.releases.push(release);
            self.hint.fetch_add(1, Ordering::Relaxed);
            self.note(&mut inner)
        };
        wake(sleeper);
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
        self.note_load(&inner);
        self.hint.fetch_sub(1, Ordering::Relaxed);
        Some(job)
    }

    /// Closes the mailbox and gives back what was waiting, in order. What runs goes on.
    pub fn close(&self) -> Vec<J> {
        let (jobs, sleeper) = {
            let mut inner = self.inner.lock();
            inner.closed = true;
            self.hint.fetch_add(1, Ordering::Relaxed);
            let jobs = std::mem::take(&mut inner.queue);
            self.note_load(&inner);
            (jobs, self.note(&mut inner))
        };
        wake(sleeper);
        jobs.into_iter().map(|(_, job)| job).collect()
    }

    /// Refuses new jobs, but lets the waiting ones run: the owner finds it closed after them.
    pub fn drain(&self) {
        let sleeper = {
            let mut inner = self.inner.lock();
            inner.closed = true;
            self.hint.fetch_add(1, Ordering::Relaxed);
            self.note(&mut inner)
        };
        wake(sleeper);
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
    pub fn aim(&self, seq: Seq) -> bool {
        let mut inner = self.inner.lock();
        if let Some(innermost) = inner.innermost()
            && innermost.seq == seq
        {
            innermost.struck.get_or_insert_with(Instant::now);
        }
        !inner.ended && inner.running.iter().any(|running| running.seq == seq)
    }

    /// For how long the innermost running job has been struck at.
    pub fn struck_for(&self) -> Option<Duration> {
        let mut inner = self.inner.lock();
        let since = inner.innermost().and_then(|running| running.struck).filter(|_| !inner.ended);
        since.map(|since| since.elapsed())
    }

    /// The number of the innermost running job. None if the owner is at something else, be it on top of
    /// a job, or gone.
    pub fn innermost(&self) -> Option<Seq> {
        let mut inner = self.inner.lock();
        inner.innermost().map(|running| running.seq).filter(|_| !inner.ended)
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
            self.hint.fetch_add(1, Ordering::Relaxed);
            other.hint.fetch_add(inner.queue.len(), Ordering::Relaxed);
            others.queue = std::mem::take(&mut inner.queue);
            others.next = inner.next;
            self.note_load(&inner);
            other.note_load(&others);
            moved();
            [inner.parked.take(), others.parked.take()]
        };
        sleepers.into_iter().for_each(wake);
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

    /// Interrupts the running job `seq`. If it is the innermost, `blow` is struck, under the lock,
    /// so that the job can't end in between and leave the blow to its successor. Any other waits
    /// for what is above it to end: it is only noted, and seen when its wait goes on, see
    /// [`Mailbox::meanwhile`]. `true`: the blow was struck.
    pub fn strike(&self, seq: Seq, blow: impl FnOnce()) -> bool {
        let (struck, sleeper) = {
            let mut inner = self.inner.lock();
            let Some(place) = inner.running.iter().position(|running| running.seq == seq) else {
                return false;
            };
            inner.running[place].interrupted = true;
            inner.running[place].was_interrupted = true;
            let innermost = inner.innermost().is_some_and(|innermost| innermost.seq == seq);
            if innermost {
                blow();
            }
            (innermost, self.note(&mut inner))
        };
        wake(sleeper);
        struck
    }

    /// Interrupts what the owner is at that is no job: runs `strike`, told whether no job is on top of
    /// that, under the lock, so that this can't change in between.
    pub fn strike_other(&self, strike: impl FnOnce(bool) -> bool) -> bool {
        let (struck, sleeper) = {
            let mut inner = self.inner.lock();
            let on_top = inner.innermost().is_none();
            (strike(on_top), self.note(&mut inner))
        };
        wake(sleeper);
        struck
    }

    /// Has the owner look around: something that it waits for besides the mailbox has happened.
    pub fn nudge(&self) {
        let sleeper = {
            let mut inner = self.inner.lock();
            self.note(&mut inner)
        };
        wake(sleeper);
    }

    /// Counts an event; returns the owner, if it sleeps and has to be woken.
    fn note(&self, inner: &mut Inner<J, R>) -> Option<Thread> {
        inner.events = inner.events.wrapping_add(1);
        self.events.store(inner.events, Ordering::Release);
        inner.parked.take()
    }

    // What follows is for the context thread alone.

    /// What to do next.
    pub fn next(&self) -> Next<J, R> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        if !inner.releases.is_empty() {
            self.hint.fetch_sub(inner.releases.len(), Ordering::Relaxed);
            return Next::Release(std::mem::take(&mut inner.releases));
        }
        if let Some((seq, job)) = inner.start(0) {
            self.hint.fetch_sub(1, Ordering::Relaxed);
            return Next::Run(seq, job);
        }
        if inner.closed { Next::Closed } else { Next::Empty }
    }

    /// What to do while the innermost job waits: as [`Mailbox::next`], but a job that is `needed`
    /// comes first, `others` only as that says, and none once the waiting job was struck. What is to be
    /// let go of is on top of that job until [`Mailbox::end_release`].
    pub fn meanwhile(&self, needed: impl Fn(&J) -> bool, others: Others<J>) -> Meanwhile<J, R> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        if inner.take_strike() {
            return Meanwhile::Struck;
        }
        if !inner.releases.is_empty() {
            if let Some(waiting) = inner.running.last_mut() {
                waiting.releasing += 1;
            }
            self.hint.fetch_sub(inner.releases.len(), Ordering::Relaxed);
            return Meanwhile::Release(std::mem::take(&mut inner.releases));
        }
        let recent = inner.queue.len().saturating_sub(RECENT);
        let position = |is_it: &dyn Fn(&J) -> bool| {
            let found = inner.queue.range(recent..).position(|(_, job)| is_it(job));
            found.map(|place| recent + place)
        };
        let differs = |kinship: &Kinship<J>, job: &J| {
            let waiting = inner.running.last();
            !waiting.is_some_and(|waiting| (kinship.same_work)(&waiting.job, job))
        };
        let place = position(&needed).or_else(|| match others {
            Others::None => None,
            Others::OldestFirst(kinship) => {
                let queue = || inner.queue.iter().take(RECENT);
                let (_, chosen) =
                    queue().find(|(_, job)| differs(&kinship, job)).or(queue().next())?;
                queue().position(|(_, job)| (kinship.same_caller)(job, chosen))
            }
            Others::NewestFirst(kinship) => {
                let queue = || inner.queue.range(recent..).rev();
                let (_, chosen) =
                    queue().find(|(_, job)| differs(&kinship, job)).or(queue().next())?;
                position(&|job| (kinship.same_caller)(job, chosen))
            }
        });
        if let Some((seq, job)) = place.and_then(|place| inner.start(place)) {
            self.hint.fetch_sub(1, Ordering::Relaxed);
            return Meanwhile::Run(seq, job);
        }
        Meanwhile::Nothing { as_of: inner.events, jobs: !inner.queue.is_empty() }
    }

    /// Whether the innermost job was struck. Forgets it: whoever asks raises the exception.
    pub fn take_strike(&self) -> bool {
        self.inner.lock().take_strike()
    }

    /// The thread has no asynchronous exception to raise: the innermost job has raised what was meant for
    /// it, and may wait again as it cleans up.
    pub fn note_raised(&self) {
        if let Some(innermost) = self.inner.lock().innermost() {
            innermost.interrupted = false;
        }
    }

    /// Whether the running job `seq` has still to raise an exception that was meant for it.
    pub fn has_to_raise(&self, seq: Seq) -> bool {
        self.inner.lock().running.iter().any(|running| running.seq == seq && running.interrupted)
    }

    /// Whether the innermost job was struck.
    pub fn is_struck(&self) -> bool {
        self.inner.lock().innermost().is_some_and(|innermost| innermost.interrupted)
    }

    /// Whether anything has happened since. For spinning.
    pub fn has_news(&self, as_of: usize) -> bool {
        self.events.load(Ordering::Acquire) != as_of
    }

    /// Sleeps until something has happened since, at most for so long. May return early.
    pub fn park_for_news(&self, as_of: usize, at_most: Option<Duration>) {
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

    /// What [`Mailbox::meanwhile`] gave to be let go of is gone: back to what is below it.
    pub fn end_release(&self) {
        if let Some(waiting) = self.inner.lock().running.last_mut() {
            waiting.releasing -= 1;
        }
    }

    /// Ends the innermost running job. `true`: it was interrupted, and may not have raised the exception.
    pub fn end_running(&self) -> bool {
        let mut inner = self.inner.lock();
        let ended = inner.running.pop();
        self.note_load(&inner);
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
        std::mem::take(&mut inner.releases)
    }

    /// Whether there may be something to take. A hint for spinning; only `next` knows.
    pub fn looks_empty(&self) -> bool {
        self.hint.load(Ordering::Relaxed) == 0
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
        let is_idle = inner.queue.is_empty() && inner.releases.is_empty() && !inner.closed;
        inner.parked = is_idle.then(current);
        is_idle
    }
}

fn wake(sleeper: Option<Thread>) {
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

    const OLDEST: Others<u32> = Others::OldestFirst(Kinship {
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
        assert_eq!(mailbox.push(2), Err(Refused::Overloaded { job: 2, queue: 1 }));
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
        assert_eq!(mailbox.push_release(()), Ok(()));
        assert_eq!(mailbox.next(), Next::Release(vec![()]));
        assert_eq!(mailbox.next(), Next::Closed);
        assert_eq!(mailbox.push_release(()), Ok(()));
        assert_eq!(mailbox.end(), vec![()]);
        assert_eq!(mailbox.push_release(()), Err(()));
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
        assert!(!mailbox.strike(second, || panic!("not running yet")));
        assert!(mailbox.strike(first, || ()));
        assert!(mailbox.end_running());
        mailbox.next();
        assert!(!mailbox.strike(first, || panic!("ended")));
        assert!(!mailbox.end_running());
    }

    #[test]
    fn a_job_that_has_raised_its_interrupt_may_wait_and_is_known_to_have_been_interrupted() {
        let mailbox = mailbox(2);
        let seq = mailbox.push(1).unwrap();
        mailbox.next();
        assert!(mailbox.strike(seq, || ()));
        assert!(mailbox.has_to_raise(seq));
        mailbox.note_raised();
        assert!(!mailbox.has_to_raise(seq));
        let meanwhile = mailbox.meanwhile(|_| false, Others::None);
        assert!(matches!(meanwhile, Meanwhile::Nothing { .. }));
        assert!(mailbox.strike(seq, || ()));
        assert_eq!(mailbox.meanwhile(|_| false, Others::None), Meanwhile::Struck);
        assert!(mailbox.end_running());
    }

    #[test]
    fn what_the_innermost_has_raised_leaves_what_those_below_have_to_raise() {
        let mailbox = mailbox(2);
        let below = mailbox.push(1).unwrap();
        let above = mailbox.push(2).unwrap();
        mailbox.next();
        assert_eq!(mailbox.meanwhile(|_| false, OLDEST), Meanwhile::Run(1, 2));
        assert!(!mailbox.strike(below, || panic!("it isn't the innermost")));
        assert!(mailbox.strike(above, || ()));
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
        let meanwhile = |needed, others| mailbox.meanwhile(|job| *job == needed, others);
        assert!(matches!(meanwhile(9, Others::None), Meanwhile::Nothing { jobs: true, .. }));
        assert_eq!(meanwhile(3, Others::None), Meanwhile::Run(3, 3));
        assert_eq!(meanwhile(9, OLDEST), Meanwhile::Run(1, 1));
        let newest = Others::NewestFirst(Kinship {
            same_caller: |one, other| one % 2 == other % 2,
            same_work: |_, _| false,
        });
        assert_eq!(meanwhile(9, newest), Meanwhile::Run(2, 2));
        assert_eq!(meanwhile(9, newest), Meanwhile::Run(4, 4));
        assert!(matches!(meanwhile(9, OLDEST), Meanwhile::Nothing { jobs: false, .. }));
    }

    #[test]
    fn what_differs_from_the_job_that_waits_goes_before_what_does_the_same() {
        let mailbox = mailbox(8);
        for job in [10, 11, 12, 23, 33, 14] {
            mailbox.push(job).unwrap();
        }
        assert_eq!(mailbox.next(), Next::Run(0, 10));
        let kinship = Kinship {
            same_caller: |one, other| one % 10 == other % 10,
            same_work: |one, other| one / 10 == other / 10,
        };
        let meanwhile = |others| {
            let chosen = mailbox.meanwhile(|_| false, others);
            assert!(!mailbox.end_running());
            chosen
        };
        // Of one caller the older comes first all the same.
        assert_eq!(meanwhile(Others::NewestFirst(kinship)), Meanwhile::Run(3, 23));
        assert_eq!(meanwhile(Others::OldestFirst(kinship)), Meanwhile::Run(4, 33));
        assert_eq!(meanwhile(Others::OldestFirst(kinship)), Meanwhile::Run(1, 11));
        assert_eq!(meanwhile(Others::NewestFirst(kinship)), Meanwhile::Run(5, 14));
    }

    #[test]
    fn a_strike_waits_for_what_is_let_go_of_on_top_of_its_job() {
        let mailbox = mailbox(8);
        let waiting = mailbox.push(1).unwrap();
        assert_eq!(mailbox.next(), Next::Run(0, 1));
        assert!(!mailbox.strike_other(|on_top| on_top));
        mailbox.push_release(()).unwrap();
        assert_eq!(mailbox.meanwhile(|_| false, OLDEST), Meanwhile::Release(vec![()]));
        assert_eq!(mailbox.innermost(), None);
        assert!(!mailbox.strike(waiting, || panic!("it isn't the innermost")));
        assert!(mailbox.aim(waiting));
        assert_eq!(mailbox.struck_for(), None);
        assert!(mailbox.strike_other(|on_top| on_top));
        // What waits up there is not the job that was struck.
        assert!(matches!(mailbox.meanwhile(|_| false, OLDEST), Meanwhile::Nothing { .. }));
        mailbox.end_release();
        assert_eq!(mailbox.innermost(), Some(waiting));
        assert_eq!(mailbox.meanwhile(|_| false, OLDEST), Meanwhile::Struck);
    }

    #[test]
    fn a_strike_below_is_seen_when_those_above_have_ended() {
        let mailbox = mailbox(8);
        let below = mailbox.push(1).unwrap();
        mailbox.push(2).unwrap();
        mailbox.next();
        assert_eq!(mailbox.meanwhile(|_| false, OLDEST), Meanwhile::Run(1, 2));
        assert!(!mailbox.strike(below, || panic!("it isn't the innermost")));
        assert!(!mailbox.is_struck());
        assert!(!mailbox.end_running());
        assert_eq!(mailbox.meanwhile(|_| false, OLDEST), Meanwhile::Struck);
        assert!(!mailbox.take_strike());
    }

    #[test]
    fn closing_returns_what_waits_and_refuses_what_comes() {
        let mailbox = mailbox(4);
        for job in 1..=3 {
            mailbox.push(job).unwrap();
        }
        mailbox.next();
        assert_eq!(mailbox.close(), vec![2, 3]);
        assert_eq!(mailbox.push(4), Err(Refused::Closed(4)));
        assert_eq!(mailbox.next(), Next::Closed);
    }

    #[test]
    fn draining_refuses_what_comes_and_runs_what_waits() {
        let mailbox = mailbox(4);
        mailbox.push(1).unwrap();
        mailbox.drain();
        assert_eq!(mailbox.push(2), Err(Refused::Closed(2)));
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
        let has_releases = |mailbox: &Mailbox<u32, ()>| !mailbox.inner.lock().releases.is_empty();
        let release = |mailbox: &Mailbox<u32, ()>| mailbox.push_release(()).unwrap();
        assert!(wakes(Mailbox::park, has_releases, release));
    }

    #[test]
    fn an_interrupt_wakes_an_owner_whose_job_waits() {
        // One event so far: the job itself.
        let sleep = |mailbox: &Mailbox<u32, ()>| mailbox.park_for_news(1, None);
        let is_struck = |mailbox: &Mailbox<u32, ()>| mailbox.is_struck();
        assert!(wakes(sleep, is_struck, |mailbox| assert!(mailbox.strike(0, || ()))));
    }

    #[test]
    fn what_comes_after_a_move_is_refused_here_and_numbered_on_there() {
        let (old, new) = (mailbox(4), mailbox(4));
        for job in 1..=3 {
            old.push(job).unwrap();
        }
        assert_eq!(old.next(), Next::Run(0, 1));
        assert!(old.move_to(&new, || ()));
        assert_eq!(old.push(4), Err(Refused::Closed(4)));
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
