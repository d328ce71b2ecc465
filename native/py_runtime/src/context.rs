//! A context: one OS thread, one mailbox, one interpreter or namespace.
//!
//! [`Context::start`] makes the thread; the thread makes its interpreter, serves the mailbox and
//! ends what it made. Everybody else has an `Arc<Context>`, through which jobs are submitted,
//! cancelled and interrupted without ever waiting for Python.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3_ffi as ffi;

use crate::backstage;
use crate::escape::Escaped;
use crate::exception::Exception;
use crate::interpreter::{self, Interpreter, InterpreterPtr};
use crate::mailbox::{Mailbox, Next, Refused, Seq};
use crate::mode::Mode;
use crate::namespace::new_namespace;
use crate::nudge;
use crate::object::{Attached, Object};
use crate::preload::Preload;
use crate::request::{Cancel, RequestState};
use crate::spin::Spin;

/// Stack of a context thread: what CPython itself gives its main thread on Linux. Python's
/// recursion limit and the conversion depth are sized for it. Reserved, not committed.
pub(crate) const STACK_SIZE: usize = 8 << 20;

/// How often a job that won't stop is interrupted again, and how many times before it is left
/// alone as stuck in C.
const INTERRUPT_EVERY: Duration = Duration::from_millis(20);
const INTERRUPT_TIMES: u32 = 250;

/// A unit of work that answers for itself.
pub trait Job: Clone + Send + Sync + 'static {
    /// What the jobs of one context share on its thread, e.g. cached names. Dropped attached,
    /// before the interpreter ends.
    type Local: 'static;

    /// Why a context is gone, as its callers are told.
    type Death: Clone + Send + 'static;

    /// What callers are told when the thread ends on its own, which is a bug of ours.
    fn thread_ended() -> Self::Death;

    /// Makes the thread's `Local`, attached, before the first job.
    fn prepare(at: Attached<'_>) -> Result<Self::Local, Exception>;

    /// Who may still answer.
    fn state(&self) -> &RequestState;

    /// Does the work, attached, on the context thread, and replies.
    fn run(&self, scope: &mut Scope<'_, Self>) -> Outcome;

    /// Replies that the context is gone, unless somebody has replied. Never on a scheduler.
    fn abandon(&self, why: &Self::Death);

    /// Replies that the job hit a bug of ours. On the context thread.
    fn panicked(&self);
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It replied with a result.
    Done,
    /// It replied with an error.
    Failed,
    /// It was interrupted on request, and replied so.
    Interrupted,
    /// Nobody wanted its result any more.
    Unwanted,
}

/// What a running job finds on its thread.
#[allow(missing_debug_implementations, reason = "`Local` needs none")]
pub struct Scope<'a, J: Job> {
    /// Proof of being attached.
    pub at: Attached<'a>,
    /// The context that runs it.
    pub context: &'a Arc<Context<J>>,
    /// The context's own namespace, a `dict`.
    pub namespace: &'a Object,
    /// See [`Job::Local`].
    pub local: &'a mut J::Local,
}

/// How a context is to be made.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its unique number.
    pub id: u64,
    /// How it gets its Python.
    pub mode: Mode,
    /// How many jobs may wait.
    pub max_queue: usize,
    /// Python source to run once in the new namespace.
    pub preload: Option<Vec<u8>>,
    /// How long the idle thread spins before it sleeps.
    pub spin: Duration,
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
pub trait Owner: Send + 'static {
    /// The context serves, or has failed to start and ends.
    fn started(&self, outcome: Result<(), StartError>);
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
    /// Interrupted on request.
    pub cancelled: u64,
}

/// What a blow is meant for.
#[derive(Clone, Copy, Debug)]
enum Target {
    Job(Seq),
    Preload,
}

/// A context, as everybody but its own thread sees it.
#[derive(Debug)]
pub struct Context<J: Job> {
    config: Config,
    mailbox: Mailbox<J, Escaped>,
    preload: Preload,
    /// Open while the interpreter may be struck; the thread closes it before it ends.
    gate: Mutex<Option<InterpreterPtr>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// `pthread_self`, by which Python knows the thread too.
    ident: AtomicU64,
    native_id: AtomicU64,
    interpreter_number: AtomicI64,
    done: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
    cancelled: AtomicU64,
    /// When the running job began, in µs since `born`, plus one; 0 while idle.
    busy_since: AtomicU64,
    born: Instant,
}

impl<J: Job> Context<J> {
    /// Starts the thread. It reports through `owner` whether the interpreter came up.
    pub fn start(config: Config, owner: Box<dyn Owner>) -> std::io::Result<Arc<Self>> {
        let context = Arc::new(Context {
            mailbox: Mailbox::new(config.max_queue),
            preload: Preload::default(),
            gate: Mutex::new(None),
            thread: Mutex::new(None),
            ident: AtomicU64::new(0),
            native_id: AtomicU64::new(0),
            interpreter_number: AtomicI64::new(-1),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            timed_out: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            busy_since: AtomicU64::new(0),
            born: Instant::now(),
            config,
        });
        let on_thread = Arc::clone(&context);
        // Held over the spawn, so that the thread finds its own handle however fast it ends.
        let mut thread = context.thread.lock();
        let spawned = std::thread::Builder::new()
            .name(format!("py_ctx_{}", context.config.id))
            .stack_size(STACK_SIZE)
            .spawn(move || on_thread.thread_main(owner))?;
        *thread = Some(spawned);
        drop(thread);
        Ok(context)
    }

    /// Submits a job. Any thread; never waits.
    pub fn submit(&self, job: J) -> Result<Seq, Refused<J>> {
        self.mailbox.push(job)
    }

    /// The caller of job `seq` gives up. After [`Cancel::Waiting`] or [`Cancel::Running`] nothing
    /// will be sent to it; a running job is interrupted. Any thread; never waits.
    pub fn cancel(self: &Arc<Self>, seq: Seq) -> Cancel {
        let Some(job) = self.mailbox.take(seq) else { return Cancel::TooLate };
        let outcome = job.state().cancel();
        if outcome != Cancel::TooLate {
            self.timed_out.fetch_add(1, Ordering::Relaxed);
        }
        // A job that was cancelled between being taken up and being started still counts as
        // waiting: it will not run, so there is nothing to interrupt.
        if outcome == Cancel::Running {
            self.interrupt_in_background(Target::Job(seq));
        }
        outcome
    }

    /// Interrupts the running job; its caller gets the error. `false`: nothing runs.
    pub fn interrupt(self: &Arc<Self>) -> bool {
        let innermost = self.mailbox.running().pop();
        if let Some((seq, job)) = &innermost {
            job.state().interrupt();
            self.interrupt_in_background(Target::Job(*seq));
        }
        innermost.is_some()
    }

    /// Refuses new jobs and has the waiting ones answered. The running one may finish; then the
    /// thread ends. Any thread; never waits.
    pub fn close(&self, why: J::Death) {
        let jobs = self.mailbox.close();
        if !jobs.is_empty() {
            backstage::run(move || jobs.iter().for_each(|job| job.abandon(&why)));
        }
    }

    /// Refuses new jobs, runs the waiting ones, then the thread ends. Any thread; never waits.
    pub fn drain(&self) {
        self.mailbox.drain();
    }

    /// As [`Context::close`], but the running jobs are answered too, and interrupted; so is the
    /// preload.
    pub fn kill(self: &Arc<Self>, why: J::Death) {
        self.close(why.clone());
        for (seq, job) in self.mailbox.running() {
            let (context, why) = (Arc::clone(self), why.clone());
            backstage::run(move || {
                // In this order: a job that is struck first would answer with an exception.
                job.abandon(&why);
                context.interrupt_in_background(Target::Job(seq));
            });
        }
        if self.preload.kill() {
            self.interrupt_in_background(Target::Preload);
        }
    }

    /// Hands a reference back to the thread that owns it, to be let go of. Any thread.
    pub fn release(&self, object: Escaped) {
        if let Err(object) = self.mailbox.push_release(object) {
            match self.config.mode {
                Mode::Worker => crate::boot::release_in_main(object),
                // It went, or will go, with its interpreter.
                Mode::SubInterpreter | Mode::OwnGil => drop(object),
            }
        }
    }

    /// The context's number.
    pub fn id(&self) -> u64 {
        self.config.id
    }

    /// Its mode.
    pub fn mode(&self) -> Mode {
        self.config.mode
    }

    /// The bound of its queue.
    pub fn max_queue(&self) -> usize {
        self.config.max_queue
    }

    /// Jobs waiting.
    pub fn waiting(&self) -> usize {
        self.mailbox.waiting()
    }

    /// Whether it takes no more jobs.
    pub fn is_closed(&self) -> bool {
        self.mailbox.is_closed()
    }

    /// How long the current job has been running.
    pub fn busy_for(&self) -> Option<Duration> {
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
            done: self.done.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            timed_out: self.timed_out.load(Ordering::Relaxed),
            cancelled: self.cancelled.load(Ordering::Relaxed),
        }
    }

    /// Strikes the target until it ends. On a thread of its own, because attaching to a busy
    /// interpreter takes a while, and a stuck one for ever.
    fn interrupt_in_background(self: &Arc<Self>, target: Target) {
        let context = Arc::clone(self);
        let spawned = std::thread::Builder::new().name("py_interrupt".into()).spawn(move || {
            for _ in 0..INTERRUPT_TIMES {
                if !context.strike(target) {
                    return;
                }
                std::thread::sleep(INTERRUPT_EVERY);
            }
        });
        // Without a thread to spare the job runs on; its caller has been answered all the same.
        drop(spawned);
    }

    /// Raises `KeyboardInterrupt` in the target. `false`: it has ended.
    fn strike(&self, target: Target) -> bool {
        let is_running = match target {
            Target::Job(seq) => self.mailbox.running().iter().any(|(running, _)| *running == seq),
            Target::Preload => self.preload.is_running(),
        };
        if !is_running {
            return false;
        }
        let gate = self.gate.lock();
        let Some(interpreter) = *gate else { return false };
        let ident = self.ident.load(Ordering::Acquire);
        // SAFETY: the open gate keeps the interpreter alive; this is a thread without a state.
        unsafe {
            interpreter::strike(interpreter, || {
                let blow = || set_async_exception(ident, ffi::PyExc_KeyboardInterrupt);
                match target {
                    Target::Job(seq) => drop(self.mailbox.strike(seq, blow)),
                    Target::Preload => self.preload.strike(blow),
                }
            });
        }
        true
    }

    // From here on: the context's own thread.

    fn thread_main(self: Arc<Self>, owner: Box<dyn Owner>) {
        let served = catch_unwind(AssertUnwindSafe(|| self.serve(owner.as_ref())));
        if served.is_err() {
            log_panic("a context thread");
        }
        self.kill(J::thread_ended());
        let handle = self.thread.lock().take();
        backstage::run(move || {
            // A panic was contained and logged on the thread itself.
            let _ = handle.map(JoinHandle::join);
            owner.ended();
        });
    }

    fn serve(self: &Arc<Self>, owner: &dyn Owner) {
        // SAFETY: no preconditions; the value is an integer on every supported platform.
        let ident = unsafe { libc::pthread_self() } as u64;
        self.ident.store(ident, Ordering::Release);
        self.native_id.store(native_thread_id(), Ordering::Relaxed);
        let mut interpreter = match Interpreter::enter(self.config.mode) {
            Ok(interpreter) => interpreter,
            Err(why) => return owner.started(Err(StartError::Interpreter(why))),
        };
        self.interpreter_number.store(interpreter.number(), Ordering::Relaxed);
        *self.gate.lock() = Some(interpreter.pointer());
        if self.config.mode.shares_gil() {
            let holder: Weak<Self> = Arc::downgrade(self);
            nudge::watch(holder, self.config.mode != Mode::Worker);
        }
        let served = catch_unwind(AssertUnwindSafe(|| match self.prepare(&interpreter) {
            Ok((namespace, mut local)) => {
                owner.started(Ok(()));
                self.serve_mailbox(&mut interpreter, &namespace, &mut local);
            }
            Err(error) => owner.started(Err(error)),
        }));
        self.close(J::thread_ended());
        release(&interpreter, self.mailbox.end());
        // After a panic too: a blow in an interpreter that is gone would be undefined.
        self.close_gate(&mut interpreter);
        if let Err(panic) = served {
            crate::exception::clear(interpreter.attached());
            resume_unwind(panic);
        }
    }

    fn prepare(&self, interpreter: &Interpreter) -> Result<(Object, J::Local), StartError> {
        let at = interpreter.attached();
        let namespace = new_namespace(at).map_err(StartError::Python)?;
        let local = J::prepare(at).map_err(StartError::Python)?;
        if let Some(source) = &self.config.preload {
            self.run_preload(at, source, &namespace)?;
        }
        Ok((namespace, local))
    }

    fn run_preload(
        &self,
        at: Attached<'_>,
        source: &[u8],
        namespace: &Object,
    ) -> Result<(), StartError> {
        if !self.preload.begin() {
            return Err(StartError::Interpreter("it was killed while it started".into()));
        }
        let done = crate::code::exec(at, source, "<preload>", namespace);
        if self.preload.end() {
            self.parry(at);
        }
        done.map_err(StartError::Python)
    }

    fn serve_mailbox(
        self: &Arc<Self>,
        interpreter: &mut Interpreter,
        namespace: &Object,
        local: &mut J::Local,
    ) {
        let mut spin = Spin::new(self.config.spin);
        loop {
            match self.mailbox.next() {
                Next::Run(_, job) => {
                    let scope =
                        Scope { at: interpreter.attached(), context: self, namespace, local };
                    self.run(&job, scope);
                    // Its terms are freed before the next job's turn, not while others wait.
                    drop(job);
                    interpreter.take_turns();
                }
                Next::Release(objects) => release(interpreter, objects),
                Next::Empty => {
                    interpreter.detach();
                    spin.wait_until(|| !self.mailbox.looks_empty(), || self.mailbox.park());
                    interpreter.attach();
                }
                Next::Closed => return,
            }
        }
    }

    fn run(&self, job: &J, mut scope: Scope<'_, J>) {
        let at = scope.at;
        if job.state().start() {
            let began = u64::try_from(self.born.elapsed().as_micros()).unwrap_or(u64::MAX - 1) + 1;
            self.busy_since.store(began, Ordering::Relaxed);
            let outcome = catch_unwind(AssertUnwindSafe(|| job.run(&mut scope)));
            self.busy_since.store(0, Ordering::Relaxed);
            if outcome.is_err() {
                log_panic("a job");
                // What it left unfinished may have left an exception, which the next job would meet.
                crate::exception::clear(at);
                job.panicked();
            }
            self.count(outcome.unwrap_or(Outcome::Failed));
        }
        if self.mailbox.end_running() {
            self.parry(at);
        }
    }

    /// Clears a blow that came after the job's last bytecode, so that it doesn't hit the next.
    fn parry(&self, at: Attached<'_>) {
        set_async_exception(self.ident.load(Ordering::Relaxed), std::ptr::null_mut());
        crate::exception::clear(at);
    }

    /// Only this thread adds to these, so that a load and a store will do.
    fn count(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Done => &self.done,
            Outcome::Failed => &self.failed,
            Outcome::Interrupted => &self.cancelled,
            Outcome::Unwanted => return,
        };
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Waits for a thread that is just striking, without the GIL that it needs.
    fn close_gate(&self, interpreter: &mut Interpreter) {
        interpreter.detach();
        *self.gate.lock() = None;
        interpreter.attach();
    }
}

impl<J: Job> nudge::Holder for Context<J> {
    fn interpreter_number(&self) -> i64 {
        self.interpreter_number()
    }

    fn is_running_for(&self, long: Duration) -> bool {
        self.busy_for().is_some_and(|busy| busy > long) || self.preload.is_running()
    }

    fn nudge(&self) {
        let gate = self.gate.lock();
        if let Some(interpreter) = *gate {
            // SAFETY: the open gate keeps the interpreter alive; this is a thread without a state.
            unsafe { interpreter::strike(interpreter, || ()) };
        }
    }
}

/// Lets go of references that were handed back.
fn release(interpreter: &Interpreter, objects: Vec<Escaped>) {
    for object in objects {
        // SAFETY: attached, and only this interpreter's objects are sent here.
        drop(unsafe { object.recover(interpreter.attached()) });
    }
}

/// Sets (or with null clears) the exception that a thread of this interpreter raises at its next
/// bytecode. The caller is attached to the interpreter.
fn set_async_exception(ident: u64, exception: *mut ffi::PyObject) {
    // SAFETY: attached; an unknown ident is ignored by CPython.
    unsafe { ffi::PyThreadState_SetAsyncExc(ident as std::ffi::c_long, exception) };
}

fn native_thread_id() -> u64 {
    // SAFETY: `gettid` can't fail.
    let id = unsafe { libc::syscall(libc::SYS_gettid) };
    u64::try_from(id).unwrap_or(0)
}

fn log_panic(whose: &str) {
    // The panic hook has written the message and place; this says what became of it.
    eprintln!("py_context_router: {whose} panicked; the panic was contained and answered");
}
