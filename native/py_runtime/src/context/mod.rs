//! A context: one OS thread, one mailbox, one interpreter or namespace.
//!
//! HandleTable what jobs are, the thread that runs them, and what becomes of a context: this is the top layer,
//! which uses all others. What its other threads see never waits for Python.
//!
//! [`Context::start`] makes the thread; the thread makes its interpreter, serves the mailbox and
//! ends what it made. Everybody else has an `Arc<Context>`, through which jobs are submitted,
//! cancelled and interrupted without ever waiting for Python.

mod backpressure;
pub mod export;
pub(crate) mod export_table;
pub mod handle;
pub(crate) mod handle_table;
pub(crate) mod housekeeping;
mod interrupt;
pub mod job;
mod loop_state;
mod nesting;
pub mod quarantine;
mod saved_state;
mod start_retry;
mod stuck;
mod thread;
pub(crate) mod watchdog;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3_ffi as ffi;

use crate::cpython::exception::Exception;
use crate::interpreter::InterpreterPtr;
use crate::interpreter::mode::Mode;
use crate::interrupt::interrupter::Target;
use crate::sync::background::BACKGROUND;
use crate::sync::mailbox::{Mailbox, PushError, Seq};
use crate::sync::os_thread;
use crate::sync::reply_state::Cancel;
use crate::sync::wait_queue::WaitQueue;
pub use backpressure::Capacity;
use export_table::{ExportTable, PyBuffer};
use handle_table::HandleTable;
use housekeeping::HousekeepingState;
use job::Job;
pub use job::OnCallerDown;
pub use nesting::{Wait, WaitError};
use quarantine::{Membership, Quarantine};

/// From when on a finalizer between two jobs is taken to hold the next one up. They mostly take
/// microseconds, and an interrupt spent on those would miss the job that it was meant for.
const MIN_INTERRUPTIBLE_AGE: Duration = Duration::from_millis(5);

/// How a context is to be made.
#[derive(Clone, Debug)]
pub struct Config {
    /// By what its owner knows it.
    pub owner_id: u64,
    /// How it gets its Python.
    pub mode: Mode,
    /// How many jobs may wait.
    pub max_queue: usize,
    /// Python sources to run in the new namespace, in order, before the first job.
    pub preload: Vec<Vec<u8>>,
    /// How long the idle thread spins before it sleeps.
    pub spin: Duration,
    /// What becomes of jobs whose callers are gone, unless they say otherwise.
    pub on_caller_down: OnCallerDown,
    /// How long an interrupted job may take to end before the context is taken for stuck.
    pub stuck_after: Option<Duration>,
    /// How long an interrupted job may clean up before it is interrupted again. Never longer than
    /// `stuck_after`, see [`Config::grace`].
    pub interrupt_grace: Option<Duration>,
    /// Where its thread is counted when it is stuck.
    pub quarantine: Arc<Quarantine>,
    /// How long callers may wait for room in a full queue. `None`: they are refused.
    pub overload_wait: Option<Duration>,
}

impl Config {
    /// How long an interrupted job may clean up before it is interrupted again. `None`: for ever.
    #[must_use]
    pub fn grace(&self) -> Option<Duration> {
        [self.interrupt_grace, self.stuck_after].into_iter().flatten().min()
    }
}

/// Why a job was not taken in. The job comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum SubmitError<J> {
    /// The queue is full, or others wait for capacity in it.
    Overloaded {
        /// The job.
        job: J,
        /// Jobs waiting now.
        queue: usize,
    },
    /// The context takes no more jobs.
    Closed(J),
    /// Too many threads of the pool are stuck.
    Quarantined(J),
}

/// Why a context didn't start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// No thread or no interpreter.
    Interpreter(String),
    /// The preload code or the preparation raised.
    Python(Exception),
}

/// Whoever wants to know how the context's thread fares. Called on native threads.
pub trait Owner: fmt::Debug + Send + Sync + 'static {
    /// The context serves, or has failed to start and ends.
    fn started(&self, outcome: Result<(), StartError>);
    /// What the context runs should have ended long ago. It may be replaced.
    fn stuck(&self);
    /// The thread has been joined: nothing of the context is left.
    fn ended(&self);
}

/// Jobs that ended in each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// With a result.
    pub done: u64,
    /// With an error.
    pub failed: u64,
    /// Given up by their callers while waiting or running.
    pub timed_out: u64,
    /// Interrupted on request, or given up because their callers were gone.
    pub cancelled: u64,
}

/// The counts, shared with the context that this one replaces.
#[derive(Debug, Default)]
struct Counters {
    done: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
    cancelled: AtomicU64,
    /// Former threads that are stuck.
    abandoned_threads: Arc<AtomicUsize>,
}

/// What only the context thread may let go of.
#[derive(Debug)]
pub(crate) enum Control<N> {
    /// A held object, by number.
    DropHandle(usize),
    /// A buffer that was read from outside.
    ReleaseBuffer(PyBuffer),
    /// Whatever a notice is about.
    Notice(N),
}

/// Tells a caller that there may be room. On a native thread.
pub type WakeWaiter = Box<dyn FnOnce() + Send>;

/// A caller that waits for room.
struct Waiter(WakeWaiter);

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiter")
    }
}

/// A context, as everybody but its own thread sees it.
#[derive(Debug)]
pub struct Context<J: Job> {
    id: u64,
    config: Config,
    mailbox: Mailbox<J, Control<J::Notice>>,
    handles: HandleTable,
    exports: Arc<ExportTable>,
    housekeeping: HousekeepingState,
    /// Open while the interpreter may be struck; the thread closes it before it ends.
    interpreter_gate: Mutex<Option<InterpreterPtr>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// `pthread_self`, by which Python knows the thread too.
    ident: AtomicU64,
    /// The thread's state, null while it has none. Changed and used under the GIL only, which keeps it
    /// alive meanwhile.
    state: AtomicPtr<ffi::PyThreadState>,
    /// Whether a blow was struck that the thread may not have raised yet.
    interrupt_pending: AtomicBool,
    native_id: AtomicU64,
    interpreter_number: AtomicI64,
    owner: Arc<dyn Owner>,
    counters: Arc<Counters>,
    /// What the owner has been told is stuck: one more than the number of the job, or the greatest
    /// numbers for what is none.
    reported_stuck: AtomicU64,
    /// Whether it is counted as stuck.
    quarantined: Mutex<Membership>,
    successor: OnceLock<Arc<Context<J>>>,
    waiters: WaitQueue<Waiter>,
    /// See [`Context::note_caller`].
    last_caller: AtomicUsize,
    /// When the running job began, in µs since `born`, plus one; 0 while idle.
    busy_since: AtomicU64,
    born: Instant,
}

impl<J: Job> Context<J> {
    /// Starts the thread. It reports through `owner` whether the interpreter came up.
    pub fn start(config: Config, owner: Arc<dyn Owner>) -> std::io::Result<Arc<Self>> {
        Self::start_with_counters(config, owner, Arc::default())
    }

    fn start_with_counters(
        config: Config,
        owner: Arc<dyn Owner>,
        counters: Arc<Counters>,
    ) -> std::io::Result<Arc<Self>> {
        // It needs a thread to end on.
        BACKGROUND.ensure_started()?;
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let context = Arc::new(Context {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            mailbox: Mailbox::new(config.max_queue),
            handles: HandleTable::default(),
            exports: Arc::default(),
            housekeeping: HousekeepingState::default(),
            interpreter_gate: Mutex::new(None),
            thread: Mutex::new(None),
            ident: AtomicU64::new(0),
            state: AtomicPtr::default(),
            interrupt_pending: AtomicBool::new(false),
            native_id: AtomicU64::new(0),
            interpreter_number: AtomicI64::new(-1),
            owner,
            counters,
            reported_stuck: AtomicU64::new(0),
            quarantined: Mutex::default(),
            successor: OnceLock::new(),
            waiters: WaitQueue::default(),
            last_caller: AtomicUsize::new(0),
            busy_since: AtomicU64::new(0),
            born: Instant::now(),
            config,
        });
        let on_thread = Arc::clone(&context);
        // Held over the spawn, so that the thread finds its own handle however fast it ends.
        let mut thread = context.thread.lock();
        let name = format!("py_ctx_{}", context.id);
        let spawned = os_thread::spawn_python(name, move || on_thread.thread_main())?;
        *thread = Some(spawned);
        drop(thread);
        Ok(context)
    }

    /// Submits a job. Any thread; never waits.
    pub fn submit(&self, job: J) -> Result<Seq, SubmitError<J>> {
        if !self.waiters.is_empty() {
            // Nobody goes past those who wait for capacity.
            return Err(SubmitError::Overloaded { job, queue: self.waiting() });
        }
        self.push(job)
    }

    fn push(&self, job: J) -> Result<Seq, SubmitError<J>> {
        if self.config.quarantine.is_full() {
            return Err(SubmitError::Quarantined(job));
        }
        self.mailbox.push(job).or_else(|refused| match refused {
            PushError::Full { job, queue } => Err(SubmitError::Overloaded { job, queue }),
            PushError::Closed(job) => match self.successor() {
                Some(successor) => successor.push(job),
                None => Err(SubmitError::Closed(job)),
            },
        })
    }

    /// The caller of job `seq` gives up. After [`Cancel::Waiting`] or [`Cancel::Running`] nothing
    /// will be sent to it; a running job is interrupted. Any thread; never waits.
    pub fn cancel(self: &Arc<Self>, seq: Seq) -> Cancel {
        let Some(job) = self.mailbox.take(seq) else {
            return self.successor().map_or(Cancel::TooLate, |successor| successor.cancel(seq));
        };
        let outcome = job.state().cancel();
        if outcome == Cancel::Waiting {
            self.wake_waiters_in_background(1);
        }
        if outcome != Cancel::TooLate {
            self.counters.timed_out.fetch_add(1, Ordering::Relaxed);
        }
        // A job that was cancelled between being taken up and being started still counts as
        // waiting: it will not run, so there is nothing to interrupt.
        if outcome == Cancel::Running {
            self.interrupt_in_background(Target::Job(seq));
        }
        outcome
    }

    /// Interrupts the running job, whose caller gets the error, and a finalizer that handles it or the next
    /// one up. Of jobs on top of one another that is the innermost whose caller hasn't given up.
    /// `false`: nothing runs.
    pub fn interrupt(self: &Arc<Self>) -> bool {
        if let Some(successor) = self.successor() {
            return successor.interrupt();
        }
        let mut innermost_first = self.mailbox.running().into_iter().rev();
        let job = innermost_first.find(|(_, job)| job.state().interrupt());
        let held_up_for = if job.is_some() { Duration::ZERO } else { MIN_INTERRUPTIBLE_AGE };
        let finalizes =
            self.mailbox.current().is_none() && self.housekeeping.interrupt_if_older(held_up_for);
        if finalizes {
            self.interrupt_now(Target::Housekeeping);
        }
        if let Some((seq, _)) = job {
            self.interrupt_now(Target::Job(seq));
        }
        finalizes || job.is_some()
    }

    /// Refuses new jobs and has the waiting ones answered. The running one may finish; then the
    /// thread ends. Any thread; never waits.
    pub fn close(&self, why: J::ExitReason) {
        let jobs = self.mailbox.close();
        self.wake_waiters_in_background(usize::MAX);
        if !jobs.is_empty() {
            BACKGROUND.spawn(move || jobs.iter().for_each(|job| job.reply_context_died(&why)));
        }
    }

    /// Refuses new jobs, runs the waiting ones, then the thread ends. Any thread; never waits.
    pub fn drain(&self) {
        self.housekeeping.drain();
        self.mailbox.drain();
        self.wake_waiters_in_background(usize::MAX);
    }

    /// As [`Context::close`], but the running jobs are answered too, and interrupted; so is the
    /// preload.
    pub fn kill(self: &Arc<Self>, why: J::ExitReason) {
        self.close(why.clone());
        for (seq, job) in self.mailbox.running() {
            let (context, why) = (Arc::clone(self), why.clone());
            BACKGROUND.spawn(move || {
                // In this order: a job that is struck first would answer with an exception.
                job.reply_context_died(&why);
                context.interrupt_in_background(Target::Job(seq));
            });
        }
        if self.housekeeping.kill() {
            self.interrupt_now(Target::Housekeeping);
        }
    }

    /// Has the thread see that something has happened that a job of it waits for, see [`Wait`].
    /// Any thread.
    pub fn wake_waiting_job(&self) {
        self.mailbox.wake();
    }

    /// Has the context thread let go of a held object. One whose context has ended has gone with it.
    pub(crate) fn release_handle(&self, number: usize) {
        let _ = self.mailbox.push_control(Control::DropHandle(number));
    }

    /// Has the context thread release an export, or gives it back when the context has ended.
    pub(crate) fn release_export(&self, buffer: PyBuffer) -> Result<(), PyBuffer> {
        match self.mailbox.push_control(Control::ReleaseBuffer(buffer)) {
            Err(Control::ReleaseBuffer(buffer)) => Err(buffer),
            _ => Ok(()),
        }
    }

    pub(crate) fn handles(&self) -> &HandleTable {
        &self.handles
    }

    pub(crate) fn exports(&self) -> &Arc<ExportTable> {
        &self.exports
    }

    /// Objects of the context that somebody outside handles.
    pub fn handle_count(&self) -> usize {
        self.handles.count()
    }

    /// Tells the thread something, ahead of the jobs that wait. A context that has ended has
    /// nothing left that it could be about. Any thread; never waits.
    pub fn notify(&self, notice: J::Notice) {
        let _ = self.mailbox.push_control(Control::Notice(notice));
    }

    /// The context's number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// By what its owner knows it.
    pub fn owner_id(&self) -> u64 {
        self.config.owner_id
    }

    /// Its mode.
    pub fn mode(&self) -> Mode {
        self.config.mode
    }

    /// The bound of its queue.
    pub fn max_queue(&self) -> usize {
        self.config.max_queue
    }

    /// How long callers may wait for room in a full queue.
    pub fn overload_wait(&self) -> Option<Duration> {
        self.config.overload_wait
    }

    /// Jobs waiting.
    pub fn waiting(&self) -> usize {
        self.mailbox.waiting()
    }

    /// How many jobs wait or run, as a hint that takes no lock. See [`Mailbox::load`].
    pub fn load(&self) -> usize {
        self.mailbox.load()
    }

    /// The running job is about to be answered. See [`Mailbox::note_answered`].
    pub fn note_answered(&self) {
        self.mailbox.note_answered();
    }

    /// Whether another context has taken its place, and its jobs.
    pub fn is_replaced(&self) -> bool {
        self.successor().is_some()
    }

    /// Its former threads that are stuck.
    pub fn abandoned_threads(&self) -> usize {
        self.counters.abandoned_threads.load(Ordering::Relaxed)
    }

    /// How long an interrupted job may clean up, see [`Config::grace`].
    pub fn grace(&self) -> Option<Duration> {
        self.config.grace()
    }

    /// Where stuck threads are counted.
    pub fn quarantine(&self) -> &Quarantine {
        &self.config.quarantine
    }

    /// Whether there seems to be something to do next: a hint, for a job that can stop early.
    pub fn has_work(&self) -> bool {
        !self.mailbox.looks_empty()
    }

    /// Whether this caller was the last to ask so too, and nothing waits: it seems to be the only
    /// one, and its next job will be run at once.
    pub fn note_caller(&self, caller: usize) -> bool {
        let same = self.last_caller.load(Ordering::Relaxed) == caller;
        if !same {
            self.last_caller.store(caller, Ordering::Relaxed);
        }
        same && !self.has_work()
    }

    /// Whether it takes no more jobs.
    pub fn is_closed(&self) -> bool {
        self.mailbox.is_closed()
    }

    /// How long the current job has been running, or what runs between jobs. Not once the job has been
    /// answered: to its caller it is over then.
    pub fn busy_for(&self) -> Option<Duration> {
        if self.mailbox.current().is_none() {
            return self.housekeeping.running_for();
        }
        match self.mailbox.running().last() {
            Some((_, job)) if job.state().is_replying() => None,
            _ => self.job_age(),
        }
    }

    /// How long the thread has been at its current job.
    fn job_age(&self) -> Option<Duration> {
        let since = self.busy_since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.born.elapsed().saturating_sub(Duration::from_micros(since)))
    }

    /// The OS's id of the thread, 0 before it runs.
    pub fn native_thread_id(&self) -> u64 {
        self.native_id.load(Ordering::Relaxed)
    }

    /// CPython's number of the interpreter (0 is the main one), -1 before it exists.
    pub fn interpreter_number(&self) -> i64 {
        self.interpreter_number.load(Ordering::Relaxed)
    }

    /// How its jobs ended.
    pub fn counts(&self) -> JobCounts {
        JobCounts {
            done: self.counters.done.load(Ordering::Relaxed),
            failed: self.counters.failed.load(Ordering::Relaxed),
            timed_out: self.counters.timed_out.load(Ordering::Relaxed),
            cancelled: self.counters.cancelled.load(Ordering::Relaxed),
        }
    }
}
