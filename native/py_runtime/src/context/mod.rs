//! A context: one OS thread, one mailbox, one interpreter or namespace.
//!
//! Holds what jobs are, the thread that runs them, and what becomes of a context: this is the top layer,
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

use crate::context::export_table::{Buffer, Exports};
use crate::context::handle_table::Holds;
use crate::context::housekeeping::Chores;
use crate::context::job::Job;
pub use crate::context::job::Orphans;
use crate::context::quarantine::{Bed, Ward};
use crate::cpython::exception::Exception;
use crate::interpreter::InterpreterPtr;
use crate::interpreter::mode::Mode;
use crate::interrupt::interrupter::Target;
use crate::sync::background::SOON;
use crate::sync::mailbox::{Mailbox, Refused, Seq};
use crate::sync::os_thread;
use crate::sync::reply_state::Cancel;
use crate::sync::wait_queue::Lobby;
pub use backpressure::Room;
pub use nesting::{Interrupted, Wait};

/// From when on a finalizer between two jobs is taken to hold the next one up. They mostly take
/// microseconds, and an interrupt spent on those would miss the job that it was meant for.
const HOLDS_UP: Duration = Duration::from_millis(5);

/// How a context is to be made.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its unique number.
    pub id: u64,
    /// By what its owner knows it.
    pub label: u64,
    /// How it gets its Python.
    pub mode: Mode,
    /// How many jobs may wait.
    pub max_queue: usize,
    /// Python sources to run in the new namespace, in order, before the first job.
    pub preload: Vec<Vec<u8>>,
    /// How long the idle thread spins before it sleeps.
    pub spin: Duration,
    /// What becomes of jobs whose callers are gone, unless they say otherwise.
    pub orphans: Orphans,
    /// How long an interrupted job may take to end before the context is taken for stuck.
    pub stuck_after: Option<Duration>,
    /// How long an interrupted job may clean up before it is interrupted again. Never longer than
    /// `stuck_after`, see [`Config::grace`].
    pub interrupt_grace: Option<Duration>,
    /// Where its thread is counted when it is stuck.
    pub ward: Arc<Ward>,
    /// How long callers may wait for room in a full queue. `None`: they are refused.
    pub patience: Option<Duration>,
}

impl Config {
    /// How long an interrupted job may clean up before it is interrupted again. `None`: for ever.
    #[must_use]
    pub fn grace(&self) -> Option<Duration> {
        [self.interrupt_grace, self.stuck_after].into_iter().flatten().min()
    }
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
pub struct Counts {
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
    left_behind: Arc<AtomicUsize>,
}

/// What only the context thread may let go of.
#[derive(Debug)]
pub(crate) enum Release<N> {
    /// A held object, by number.
    Hold(usize),
    /// A buffer that was read from outside.
    Export(Buffer),
    /// Whatever a notice is about.
    Notice(N),
}

/// Tells a caller that there may be room. On a native thread.
pub type Admit = Box<dyn FnOnce() + Send>;

/// A caller that waits for room.
struct Waiter(Admit);

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiter")
    }
}

/// A context, as everybody but its own thread sees it.
#[derive(Debug)]
pub struct Context<J: Job> {
    config: Config,
    mailbox: Mailbox<J, Release<J::Notice>>,
    holds: Holds,
    exports: Arc<Exports>,
    chores: Chores,
    /// Open while the interpreter may be struck; the thread closes it before it ends.
    gate: Mutex<Option<InterpreterPtr>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// `pthread_self`, by which Python knows the thread too.
    ident: AtomicU64,
    /// The thread's state, null while it has none. Changed and used under the GIL only, which keeps it
    /// alive meanwhile.
    state: AtomicPtr<ffi::PyThreadState>,
    /// Whether a blow was struck that the thread may not have raised yet.
    hit: AtomicBool,
    native_id: AtomicU64,
    interpreter_number: AtomicI64,
    owner: Arc<dyn Owner>,
    counters: Arc<Counters>,
    /// What the owner has been told is stuck: one more than the number of the job, or the greatest
    /// numbers for what is none.
    stuck_at: AtomicU64,
    /// Whether it is counted as stuck.
    bed: Mutex<Bed>,
    successor: OnceLock<Arc<Context<J>>>,
    lobby: Lobby<Waiter>,
    /// See [`Context::is_left_to`].
    last_asked_by: AtomicUsize,
    /// When the running job began, in µs since `born`, plus one; 0 while idle.
    busy_since: AtomicU64,
    born: Instant,
}

impl<J: Job> Context<J> {
    /// Starts the thread. It reports through `owner` whether the interpreter came up.
    pub fn start(config: Config, owner: Arc<dyn Owner>) -> std::io::Result<Arc<Self>> {
        Self::start_counting(config, owner, Arc::default())
    }

    fn start_counting(
        config: Config,
        owner: Arc<dyn Owner>,
        counters: Arc<Counters>,
    ) -> std::io::Result<Arc<Self>> {
        // It needs a thread to end on.
        SOON.be_ready()?;
        let context = Arc::new(Context {
            mailbox: Mailbox::new(config.max_queue),
            holds: Holds::default(),
            exports: Arc::default(),
            chores: Chores::default(),
            gate: Mutex::new(None),
            thread: Mutex::new(None),
            ident: AtomicU64::new(0),
            state: AtomicPtr::default(),
            hit: AtomicBool::new(false),
            native_id: AtomicU64::new(0),
            interpreter_number: AtomicI64::new(-1),
            owner,
            counters,
            stuck_at: AtomicU64::new(0),
            bed: Mutex::default(),
            successor: OnceLock::new(),
            lobby: Lobby::default(),
            last_asked_by: AtomicUsize::new(0),
            busy_since: AtomicU64::new(0),
            born: Instant::now(),
            config,
        });
        let on_thread = Arc::clone(&context);
        // Held over the spawn, so that the thread finds its own handle however fast it ends.
        let mut thread = context.thread.lock();
        let name = format!("py_ctx_{}", context.config.id);
        let spawned = os_thread::spawn_python(name, move || on_thread.thread_main())?;
        *thread = Some(spawned);
        drop(thread);
        Ok(context)
    }

    /// Submits a job. Any thread; never waits.
    pub fn submit(&self, job: J) -> Result<Seq, Refused<J>> {
        if !self.lobby.is_empty() {
            // Nobody goes past those who wait for room.
            return Err(Refused::Overloaded { job, queue: self.waiting() });
        }
        self.submit_admitted(job)
    }

    /// The caller of job `seq` gives up. After [`Cancel::Waiting`] or [`Cancel::Running`] nothing
    /// will be sent to it; a running job is interrupted. Any thread; never waits.
    pub fn cancel(self: &Arc<Self>, seq: Seq) -> Cancel {
        let Some(job) = self.mailbox.take(seq) else {
            return self.successor().map_or(Cancel::TooLate, |successor| successor.cancel(seq));
        };
        let outcome = job.state().cancel();
        if outcome == Cancel::Waiting {
            self.admit_soon(1);
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

    /// Interrupts the running job, whose caller gets the error, and a finalizer that holds it or the next
    /// one up. Of jobs on top of one another that is the innermost whose caller hasn't given up.
    /// `false`: nothing runs.
    pub fn interrupt(self: &Arc<Self>) -> bool {
        if let Some(successor) = self.successor() {
            return successor.interrupt();
        }
        let mut innermost_first = self.mailbox.running().into_iter().rev();
        let job = innermost_first.find(|(_, job)| job.state().interrupt());
        let held_up_for = if job.is_some() { Duration::ZERO } else { HOLDS_UP };
        let finalizes = self.mailbox.innermost().is_none() && self.chores.stop(held_up_for);
        if finalizes {
            self.interrupt_now(Target::Chore);
        }
        if let Some((seq, _)) = job {
            self.interrupt_now(Target::Job(seq));
        }
        finalizes || job.is_some()
    }

    /// Refuses new jobs and has the waiting ones answered. The running one may finish; then the
    /// thread ends. Any thread; never waits.
    pub fn close(&self, why: J::Death) {
        let jobs = self.mailbox.close();
        self.admit_soon(usize::MAX);
        if !jobs.is_empty() {
            SOON.run(move || jobs.iter().for_each(|job| job.abandon(&why)));
        }
    }

    /// Refuses new jobs, runs the waiting ones, then the thread ends. Any thread; never waits.
    pub fn drain(&self) {
        self.chores.drain();
        self.mailbox.drain();
        self.admit_soon(usize::MAX);
    }

    /// As [`Context::close`], but the running jobs are answered too, and interrupted; so is the
    /// preload.
    pub fn kill(self: &Arc<Self>, why: J::Death) {
        self.close(why.clone());
        for (seq, job) in self.mailbox.running() {
            let (context, why) = (Arc::clone(self), why.clone());
            SOON.run(move || {
                // In this order: a job that is struck first would answer with an exception.
                job.abandon(&why);
                context.interrupt_in_background(Target::Job(seq));
            });
        }
        if self.chores.kill() {
            self.interrupt_now(Target::Chore);
        }
    }

    /// Has the thread see that something has happened that a job of it waits for, see [`Wait`].
    /// Any thread.
    pub fn nudge_waiting(&self) {
        self.mailbox.nudge();
    }

    /// Has the context thread let go of a held object. One whose context has ended has gone with it.
    pub(crate) fn release_hold(&self, number: usize) {
        let _ = self.mailbox.push_release(Release::Hold(number));
    }

    /// Has the context thread release an export, or gives it back when the context has ended.
    pub(crate) fn release_export(&self, buffer: Buffer) -> Result<(), Buffer> {
        match self.mailbox.push_release(Release::Export(buffer)) {
            Err(Release::Export(buffer)) => Err(buffer),
            _ => Ok(()),
        }
    }

    pub(crate) fn holds(&self) -> &Holds {
        &self.holds
    }

    pub(crate) fn exports(&self) -> &Arc<Exports> {
        &self.exports
    }

    /// Objects of the context that somebody outside holds.
    pub fn held(&self) -> usize {
        self.holds.count()
    }

    /// Tells the thread something, ahead of the jobs that wait. A context that has ended has
    /// nothing left that it could be about. Any thread; never waits.
    pub fn notify(&self, notice: J::Notice) {
        let _ = self.mailbox.push_release(Release::Notice(notice));
    }

    /// The context's number.
    pub fn id(&self) -> u64 {
        self.config.id
    }

    /// By what its owner knows it.
    pub fn label(&self) -> u64 {
        self.config.label
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
    pub fn patience(&self) -> Option<Duration> {
        self.config.patience
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
    pub fn left_behind(&self) -> usize {
        self.counters.left_behind.load(Ordering::Relaxed)
    }

    /// How long an interrupted job may clean up, see [`Config::grace`].
    pub fn grace(&self) -> Option<Duration> {
        self.config.grace()
    }

    /// Where stuck threads are counted.
    pub fn ward(&self) -> &Ward {
        &self.config.ward
    }

    /// Whether there seems to be something to do next: a hint, for a job that can stop early.
    pub fn has_work(&self) -> bool {
        !self.mailbox.looks_empty()
    }

    /// Whether this caller was the last to ask so too, and nothing waits: it seems to be the only
    /// one, and its next job will be run at once.
    pub fn is_left_to(&self, caller: usize) -> bool {
        let same = self.last_asked_by.load(Ordering::Relaxed) == caller;
        if !same {
            self.last_asked_by.store(caller, Ordering::Relaxed);
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
        if self.mailbox.innermost().is_none() {
            return self.chores.running_for();
        }
        match self.mailbox.running().last() {
            Some((_, job)) if job.state().is_replying() => None,
            _ => self.running_for(),
        }
    }

    /// How long the thread has been at its current job.
    fn running_for(&self) -> Option<Duration> {
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
    pub fn counts(&self) -> Counts {
        Counts {
            done: self.counters.done.load(Ordering::Relaxed),
            failed: self.counters.failed.load(Ordering::Relaxed),
            timed_out: self.counters.timed_out.load(Ordering::Relaxed),
            cancelled: self.counters.cancelled.load(Ordering::Relaxed),
        }
    }
}
