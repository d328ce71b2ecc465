//! A context: one OS thread, one mailbox, one interpreter or namespace.
//!
//! Holds what jobs are, the thread that runs them, and what becomes of a context: this is the top
//! layer, which uses all others. What other threads call here never waits for Python.
//!
//! [`Context::start`] makes the thread. The thread makes its interpreter, serves the mailbox and
//! ends what it made. All other threads have an `Arc<Context>`, through which jobs are submitted,
//! cancelled and interrupted.

mod backpressure;
mod config;
pub mod direct;
mod event_loop;
pub mod export;
pub(crate) mod export_table;
pub mod handle;
pub(crate) mod handle_table;
pub(crate) mod housekeeping;
mod info;
mod interrupt;
pub mod job;
mod loop_state;
mod nesting;
pub mod quarantine;
mod report;
mod saved_state;
mod start_retry;
mod stuck;
mod tasks;
mod thread;
pub(crate) mod watchdog;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3_ffi as ffi;

use crate::gil::users::GilUsers;
use crate::interpreter::InterpreterPtr;
use crate::interrupt::interrupter::Target;
use crate::sync::background::BACKGROUND;
use crate::sync::mailbox::{Mailbox, PushError, Seq};
use crate::sync::os_thread;
use crate::sync::reply_state::Cancel;
use crate::sync::wait_queue::WaitQueue;
pub use backpressure::Capacity;
pub use config::Config;
use direct::DirectState;
pub use event_loop::{LoopOptions, LoopWait};
use export_table::{ExportTable, PyBuffer};
use handle_table::HandleTable;
use housekeeping::HousekeepingState;
use job::Job;
pub use job::OnCallerDown;
pub use nesting::{Wait, WaitError};
use quarantine::Membership;
use report::Counters;
pub use report::{JobCounts, Owner, StartError, SubmitError};

/// The age from which on a finalizer between two jobs counts as blocking the next one. Finalizers
/// mostly take microseconds, and an interrupt spent on those would miss the job that it was meant
/// for.
const MIN_INTERRUPTIBLE_AGE: Duration = Duration::from_millis(5);

/// How long the thread sleeps while callers wait for capacity: those that were woken may be gone.
const MAX_PARK_WITH_WAITERS: Duration = Duration::from_millis(1);

/// A message to the context thread, which goes before all jobs.
#[derive(Debug)]
pub(crate) enum Control<N> {
    /// Drop the object of a handle, by id.
    DropHandle(usize),
    /// Release the buffer of an export.
    ReleaseBuffer(PyBuffer),
    /// Cancel a task.
    CancelTask(Seq),
    /// A notice to the job type.
    Notice(N),
    /// Collect garbage that direct runs have left.
    Collect,
}

/// Wakes a caller: there may be capacity. Called on a native thread.
pub type WakeWaiter = Box<dyn FnOnce() + Send>;

/// A caller that waits for capacity.
struct Waiter(WakeWaiter);

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiter")
    }
}

/// A context, as all threads but its own see it.
#[derive(Debug)]
pub struct Context<J: Job> {
    id: u64,
    config: Config,
    mailbox: Mailbox<J, Control<J::Notice>>,
    direct: DirectState,
    /// The users of a GIL of its own.
    own_gil: GilUsers,
    /// Why it was killed or replaced, for a direct run that goes on then.
    exit_reason: OnceLock<J::ExitReason>,
    handles: HandleTable,
    exports: Arc<ExportTable>,
    housekeeping: HousekeepingState,
    /// Open while other threads may attach to the interpreter; the thread closes it before it ends
    /// that.
    interpreter_gate: Mutex<Option<InterpreterPtr>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// `pthread_self`, by which Python knows the thread too.
    ident: AtomicU64,
    /// The thread's state, null while it has none. Changed and used under the GIL only, which keeps
    /// it alive meanwhile.
    state: AtomicPtr<ffi::PyThreadState>,
    /// Whether an asynchronous exception was set that the thread may not have raised yet.
    interrupt_pending: AtomicBool,
    native_id: AtomicU64,
    interpreter_number: AtomicI64,
    owner: Arc<dyn Owner>,
    counters: Arc<Counters>,
    /// What has been reported stuck: one more than the number of the job, or counted down from the
    /// greatest number for housekeeping.
    reported_stuck: AtomicU64,
    /// Whether it is counted as stuck.
    quarantined: Mutex<Membership>,
    successor: OnceLock<Arc<Context<J>>>,
    waiters: WaitQueue<Waiter>,
    /// When the thread ends although there are tasks, once they were all cancelled.
    tasks_end_by: OnceLock<Instant>,
    /// Until when the thread waits if nothing happens, in µs since `born`: for a direct run, which
    /// may give the event loop a timer.
    loop_waits_until: AtomicU64,
    /// See [`Context::note_caller`].
    last_caller: AtomicUsize,
    /// When the running job began, in µs since `born`, plus one; 0 while idle. Written by the
    /// context's thread, or by a caller to whom the context is lent.
    busy_since: AtomicU64,
    born: Instant,
}

impl<J: Job> Context<J> {
    /// Starts the thread. It reports to `owner` whether the interpreter has started.
    pub fn start(config: Config, owner: Arc<dyn Owner>) -> std::io::Result<Arc<Self>> {
        Self::start_with_counters(config, owner, Arc::default())
    }

    fn start_with_counters(
        config: Config,
        owner: Arc<dyn Owner>,
        counters: Arc<Counters>,
    ) -> std::io::Result<Arc<Self>> {
        // The context thread is joined on it.
        BACKGROUND.ensure_started()?;
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let context = Arc::new(Context {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            mailbox: Mailbox::new(config.max_queue),
            direct: DirectState::default(),
            own_gil: GilUsers::new(),
            exit_reason: OnceLock::new(),
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
            tasks_end_by: OnceLock::new(),
            loop_waits_until: AtomicU64::new(u64::MAX),
            last_caller: AtomicUsize::new(0),
            busy_since: AtomicU64::new(0),
            born: Instant::now(),
            config,
        });
        let on_thread = Arc::clone(&context);
        // Locked over the spawn, so that the thread finds its own handle however fast it ends.
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
            // No caller overtakes those that wait for capacity.
            return Err(SubmitError::Overloaded { job, queue: self.waiting() });
        }
        self.push(job)
    }

    /// Submits the next part of something of which one part has been accepted before: also into a
    /// full queue. Any thread; never waits.
    ///
    /// # Errors
    /// As [`Context::submit`], but it is never overloaded.
    pub fn submit_next(&self, job: J) -> Result<Seq, SubmitError<J>> {
        self.push_if_below(usize::MAX, job)
    }

    fn push(&self, job: J) -> Result<Seq, SubmitError<J>> {
        self.push_if_below(self.config.max_queue, job)
    }

    fn push_if_below(&self, max_queue: usize, job: J) -> Result<Seq, SubmitError<J>> {
        if self.config.quarantine.is_full() {
            return Err(SubmitError::Quarantined(job));
        }
        self.mailbox.push_if_below(max_queue, job).or_else(|refused| match refused {
            PushError::Full { job, queue } => Err(SubmitError::Overloaded { job, queue }),
            PushError::Closed(job) => match self.successor() {
                Some(successor) => successor.push_if_below(max_queue, job),
                None => Err(SubmitError::Closed(job)),
            },
        })
    }

    /// The caller of job `seq` cancels it. After [`Cancel::Waiting`] or [`Cancel::Running`] nothing
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
            self.stop_running(seq);
        }
        outcome
    }

    /// Interrupts the running job, whose caller gets the error, and a finalizer that blocks it or
    /// the next one. Of nested jobs that is the innermost whose caller hasn't cancelled it. If none
    /// runs, cancels the oldest task that isn't cancelled yet. `false`: there is none.
    pub fn interrupt(self: &Arc<Self>) -> bool {
        if let Some(successor) = self.successor() {
            return successor.interrupt();
        }
        let direct = self.interrupt_direct();
        let mut innermost_first = self.mailbox.running().into_iter().rev();
        let job = innermost_first.find(|(_, job)| job.state().interrupt());
        let min_age = if job.is_some() { Duration::ZERO } else { MIN_INTERRUPTIBLE_AGE };
        let finalizes =
            self.mailbox.current().is_none() && self.housekeeping.interrupt_if_older(min_age);
        if finalizes {
            self.interrupt_now(Target::Housekeeping);
        }
        if let Some((seq, _)) = job {
            self.interrupt_now(Target::Job(seq));
            // If it is a step of a task, that may have ended before.
            self.cancel_task(seq);
        }
        direct || finalizes || job.is_some() || self.interrupt_oldest_task()
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
                // In this order: a job that is interrupted first would answer with an exception.
                job.reply_context_died(&why);
                context.interrupt_in_background(Target::Job(seq));
            });
        }
        self.kill_direct(why.clone());
        self.end_tasks(why);
        if self.housekeeping.kill() {
            self.interrupt_now(Target::Housekeeping);
        }
    }

    /// Wakes the thread: something has happened that one of its jobs may wait for, see [`Wait`].
    /// Any thread.
    pub fn wake_waiting_job(&self) {
        self.mailbox.wake();
    }

    /// Has the context thread drop the object of a handle. If the context has ended, it is gone.
    pub(crate) fn release_handle(&self, id: usize) {
        let _ = self.mailbox.push_control(Control::DropHandle(id));
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

    /// How many handles there are.
    pub fn handle_count(&self) -> usize {
        self.handles.count()
    }

    /// Sends the thread a notice, ahead of the jobs that wait. If the context has ended, there is
    /// nothing left that it could be about. Any thread; never waits.
    pub fn notify(&self, notice: J::Notice) {
        let _ = self.mailbox.push_control(Control::Notice(notice));
    }

    /// Notes which caller is about to submit. `true`: it was the last one, too, and nothing waits.
    /// So it seems to be the only caller, and its job will run at once.
    pub fn note_caller(&self, caller: usize) -> bool {
        let same = self.last_caller.load(Ordering::Relaxed) == caller;
        if !same {
            self.last_caller.store(caller, Ordering::Relaxed);
        }
        same && !self.has_work()
    }

    /// The running job is about to be answered. See [`Mailbox::note_answered`].
    pub fn note_answered(&self) {
        self.mailbox.note_answered();
    }
}
