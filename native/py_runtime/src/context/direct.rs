//! Direct runs: a caller runs its job itself, on its own thread, while the context's thread has
//! nothing to do.
//!
//! No thread has to wake for that, so it takes a fraction of the time. The caller's thread is a
//! scheduler of the Erlang VM, which must never wait: not for the context's thread, not for another
//! caller, not for the GIL. So a direct run begins only if all of these are free, and
//! [`Context::run_direct`] refuses otherwise; then the job goes to the queue. Whether the job is
//! short enough is the caller's business.
//!
//! Who holds the context's [`OwnerLock`] may use its namespace and its [`Job::Local`]. They belong
//! to the interpreter, not to the thread. The caller's thread attaches with a state of its own,
//! which it keeps. Nothing is queued when a direct run begins, so jobs of one caller keep their
//! order.
//!
//! So far there are direct runs in the main interpreter only, which never ends, and neither do
//! schedulers: their states are never deleted.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

use pyo3_ffi as ffi;

use super::job::{Job, Outcome};
use super::loop_state::LoopState;
use super::{Context, Control};
use crate::boot::python_threads;
use crate::cpython::async_exc;
use crate::cpython::context_variables::ContextVariables;
use crate::cpython::exception;
use crate::cpython::object::{Attached, Object};
use crate::gil::users::{self, DirectUser};
use crate::interpreter::{self, mode::Mode};
use crate::interrupt::interrupter::Target;
use crate::interrupt::lock_recovery;
use crate::sync::large_stack;
use crate::sync::owner_lock::OwnerLock;
use crate::sync::wakeup;

/// After so many direct runs the context's thread collects garbage: during one it isn't collected.
const COLLECT_AFTER: u64 = 1000;

/// Whether any job is ever run directly. Until then no thread lends its context.
static IN_USE: AtomicBool = AtomicBool::new(false);

/// From now on contexts lend themselves while they have nothing to do.
pub fn enable() {
    IN_USE.store(true, Ordering::Relaxed);
}

/// How a direct run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectEnd {
    /// By itself.
    Done,
    /// It was interrupted on request. It may have a result all the same.
    Interrupted,
    /// Its time was up.
    TimedOut,
    /// Its context was killed or replaced.
    ContextDied,
}

/// A direct run that has ended.
#[derive(Debug)]
pub struct DirectRun<T> {
    /// What the work returned.
    pub value: T,
    /// How it ended.
    pub end: DirectEnd,
    /// How long it took.
    pub took: Duration,
}

/// What a direct run finds.
#[allow(missing_debug_implementations, reason = "`Local` needs none")]
pub struct DirectScope<'a, J: Job> {
    /// Proof of being attached.
    pub py: Attached<'a>,
    /// The context, on whose behalf it runs.
    pub context: &'a Arc<Context<J>>,
    /// The context's own namespace, a `dict`.
    pub namespace: &'a Object,
    /// See [`Job::Local`].
    pub local: &'a J::Local,
}

/// The number of a direct run within its context, and its [`Status`] in the lowest bits.
type RunWord = u64;

const STATUS_BITS: u32 = 3;

/// What has become of the current run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    None = 0,
    Running = 1,
    Interrupted = 2,
    TimedOut = 3,
    ContextDied = 4,
}

impl Status {
    fn of(word: RunWord) -> Self {
        match word & ((1 << STATUS_BITS) - 1) {
            1 => Status::Running,
            2 => Status::Interrupted,
            3 => Status::TimedOut,
            4 => Status::ContextDied,
            _ => Status::None,
        }
    }
}

/// A context's side of direct runs.
#[derive(Debug)]
pub(super) struct DirectState {
    lock: OwnerLock,
    /// What the jobs share, on the stack of the context's thread. Null while it doesn't serve. Read
    /// by whoever holds the lock.
    namespace: AtomicPtr<Object>,
    local: AtomicPtr<()>,
    variables: AtomicPtr<ContextVariables>,
    /// The current run, or the last one.
    run: AtomicU64,
    /// When it is to be stopped, in µs since the context's birth; 0: never.
    deadline: AtomicU64,
    /// When it was first to be interrupted, plus one; 0: not yet.
    interrupted_at: AtomicU64,
    /// The thread of the current run, as Python and as the OS know it, and its state.
    ident: AtomicU64,
    state: AtomicPtr<ffi::PyThreadState>,
    /// Whether an exception was set on that thread. Changed under the GIL.
    exception_set: AtomicBool,
    /// Direct runs that have ended, and those that were refused.
    done: AtomicU64,
    refused: AtomicU64,
}

impl Default for DirectState {
    fn default() -> Self {
        DirectState {
            lock: OwnerLock::new(),
            namespace: AtomicPtr::default(),
            local: AtomicPtr::default(),
            variables: AtomicPtr::default(),
            run: AtomicU64::new(0),
            deadline: AtomicU64::new(0),
            interrupted_at: AtomicU64::new(0),
            ident: AtomicU64::new(0),
            state: AtomicPtr::default(),
            exception_set: AtomicBool::new(false),
            done: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }
}

impl DirectState {
    /// Whether a direct run is going on. See [`OwnerLock::is_borrowed`].
    pub(super) fn is_running(&self) -> bool {
        self.lock.is_borrowed()
    }

    /// The number of the current run, unless it has ended.
    pub(super) fn current(&self) -> Option<u64> {
        let word = self.run.load(Ordering::Relaxed);
        (Status::of(word) != Status::None).then_some(word >> STATUS_BITS)
    }

    /// How many have ended, and how many were refused.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// The state of the current run's thread. It is never deleted.
    pub(super) fn state(&self) -> *mut ffi::PyThreadState {
        self.state.load(Ordering::Relaxed)
    }

    /// Sets the exception on the thread of run `id`, if that goes on. The thread is attached to the
    /// interpreter: the run can't end meanwhile.
    pub(super) fn interrupt(&self, py: Attached<'_>, id: u64) {
        if self.current() == Some(id) {
            self.exception_set.store(true, Ordering::Relaxed);
            async_exc::set(py, self.ident.load(Ordering::Relaxed));
        }
    }

    /// Decides how the current run ends, unless that is decided. Its number, if it is this.
    fn decide(&self, status: Status) -> Option<u64> {
        let changed = self.run.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |word| {
            let may_change = match Status::of(word) {
                Status::Running => true,
                Status::Interrupted => status != Status::Interrupted,
                _ => false,
            };
            may_change.then_some((word >> STATUS_BITS << STATUS_BITS) | status as u64)
        });
        changed.ok().map(|word| word >> STATUS_BITS)
    }
}

thread_local! {
    /// This thread's state in the main interpreter, for direct runs. Kept for ever.
    static STATE: Cell<*mut ffi::PyThreadState> = const { Cell::new(null_mut()) };
}

/// This thread's state. `None`: there is no memory for one, or this CPython has no way to tell it
/// of another stack.
fn thread_state() -> Option<*mut ffi::PyThreadState> {
    match STATE.get() {
        state if state.is_null() => {
            let state = interpreter::new_main_state_here()?;
            STATE.set(state);
            Some(state)
        }
        state => Some(state),
    }
}

/// The context is lent from here to the drop, by its own thread.
pub(super) struct Lent<'a>(&'a DirectState);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.0.lock.acquire();
    }
}

impl<J: Job> Context<J> {
    /// Whether its thread lends the context while it has nothing to do.
    pub(super) fn lends(&self) -> bool {
        let is_supported = self.config.mode == Mode::Worker && !cfg!(Py_GIL_DISABLED);
        is_supported && IN_USE.load(Ordering::Relaxed)
    }

    /// The context's thread is about to wait, and still attached.
    pub(super) fn prepare_to_lend(&self, loop_state: &LoopState<'_, J::Local>) {
        let py = loop_state.interpreter.attached();
        users::note_python_threads(python_threads::any(py));
        let variables = loop_state.variables.get_or_init(|| ContextVariables::copy_current(py));
        variables.exit(py);
        let direct = &self.direct;
        direct
            .namespace
            .store(std::ptr::from_ref(loop_state.namespace).cast_mut(), Ordering::Relaxed);
        direct
            .local
            .store(std::ptr::from_ref(loop_state.local).cast_mut().cast(), Ordering::Relaxed);
        direct.variables.store(std::ptr::from_ref(variables).cast_mut(), Ordering::Relaxed);
    }

    /// Lends the context until the result is dropped. By its own thread, detached.
    pub(super) fn lend(&self) -> Lent<'_> {
        self.direct.lock.release();
        Lent(&self.direct)
    }

    /// The context's thread has the context back, and is attached.
    pub(super) fn resume_after_lending(&self, loop_state: &LoopState<'_, J::Local>) {
        if let Some(variables) = loop_state.variables.get() {
            variables.enter(loop_state.interpreter.attached());
        }
    }

    /// Runs `work` on this thread, attached to the context's interpreter. `None`: something isn't
    /// free, and nothing has been done; or `work` declined by `None`. After `timeout` the work is
    /// interrupted. Never waits for more than some microseconds.
    ///
    /// The thread is one that never ends, and isn't attached to any interpreter.
    pub fn run_direct<T>(
        self: &Arc<Self>,
        timeout: Option<Duration>,
        work: impl FnOnce(&DirectScope<'_, J>) -> Option<(T, Outcome)>,
    ) -> Option<DirectRun<T>> {
        let run = self.try_run_direct(timeout, work);
        if run.is_none() {
            self.direct.refused.fetch_add(1, Ordering::Relaxed);
        }
        run
    }

    fn try_run_direct<T>(
        self: &Arc<Self>,
        timeout: Option<Duration>,
        work: impl FnOnce(&DirectScope<'_, J>) -> Option<(T, Outcome)>,
    ) -> Option<DirectRun<T>> {
        if !self.mailbox.looks_empty() {
            return None;
        }
        let borrowed = Borrowed::new(self)?;
        // What was there before the lock was free has been done. What has come since goes first.
        if !self.mailbox.looks_empty() {
            return None;
        }
        let state = thread_state()?;
        let _user = DirectUser::try_enter()?;
        let began = self.born.elapsed();
        borrowed.begin(began, timeout, state);
        wakeup::notify_borrowed();
        let done = large_stack::run(|| {
            // SAFETY: the state is this thread's, which isn't attached; it holds the lock.
            let attached = unsafe { AttachedRun::new(self, state) };
            let done = work(&attached.scope());
            (done, attached.end())
        })?;
        let (done, end) = done.unwrap_or_else(|panic| resume_unwind(panic));
        let took = self.born.elapsed().saturating_sub(began);
        let (value, outcome) = done?;
        self.count(match end {
            DirectEnd::Done => outcome,
            DirectEnd::Interrupted if outcome == Outcome::Done => outcome,
            DirectEnd::Interrupted => Outcome::Interrupted,
            DirectEnd::TimedOut | DirectEnd::ContextDied => Outcome::Unwanted,
        });
        borrowed.count();
        Some(DirectRun { value, end, took })
    }

    /// Interrupts the direct run that goes on. `false`: there is none, or it ends already.
    pub(super) fn interrupt_direct(self: &Arc<Self>) -> bool {
        self.stop_direct(Status::Interrupted)
    }

    /// The context dies: so does the direct run that goes on.
    pub(super) fn kill_direct(self: &Arc<Self>, why: J::ExitReason) {
        // The first reason counts.
        let _ = self.exit_reason.set(why);
        self.stop_direct(Status::ContextDied);
    }

    fn stop_direct(self: &Arc<Self>, status: Status) -> bool {
        let stopped = self.direct.decide(status);
        if let Some(id) = stopped {
            self.interrupt_now(Target::Direct(id));
        }
        stopped.is_some()
    }

    /// The watchdog checks a direct run: it is stopped when its time is up. One without a timeout
    /// holds a scheduler for `stuck_after` at most.
    pub(super) fn check_direct(self: &Arc<Self>) {
        if self.direct.current().is_none() {
            return;
        }
        let deadline = self.direct.deadline.load(Ordering::Relaxed);
        let is_late = match self.config.stuck_after {
            _ if deadline > 0 => self.micros() >= deadline,
            Some(limit) => self.job_age().is_some_and(|age| age > limit),
            None => false,
        };
        let status = if deadline > 0 { Status::TimedOut } else { Status::Interrupted };
        if is_late && self.stop_direct(status) && status == Status::TimedOut {
            self.counters.timed_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes that run `id` is to be interrupted. Whether it goes on.
    pub(super) fn mark_direct(&self, id: u64) -> bool {
        let goes_on = self.direct.current() == Some(id);
        if goes_on {
            let _ = self.direct.interrupted_at.compare_exchange(
                0,
                self.micros() + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        goes_on
    }

    /// How long ago the direct run that goes on was first to be interrupted.
    pub(super) fn direct_interrupted_for(&self) -> Option<Duration> {
        self.direct.current()?;
        let since = self.direct.interrupted_at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_micros(self.micros().saturating_sub(since)))
    }

    /// Microseconds since the context's birth.
    fn micros(&self) -> u64 {
        micros(self.born.elapsed())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX - 1)
}

/// The context, lent to this thread.
struct Borrowed<'a, J: Job>(&'a Context<J>);

impl<'a, J: Job> Borrowed<'a, J> {
    fn new(context: &'a Context<J>) -> Option<Self> {
        // Made only then: its drop gives the lock back.
        context.direct.lock.try_borrow().then(|| Borrowed(context))
    }

    /// A run begins. Others see it from here on.
    fn begin(&self, began: Duration, timeout: Option<Duration>, state: *mut ffi::PyThreadState) {
        let Borrowed(context) = self;
        let (direct, began) = (&context.direct, micros(began));
        let deadline = timeout.map_or(0, |timeout| began.saturating_add(micros(timeout)).max(1));
        direct.deadline.store(deadline, Ordering::Relaxed);
        direct.interrupted_at.store(0, Ordering::Relaxed);
        // SAFETY: no preconditions; the value is an integer on every supported platform.
        direct.ident.store(unsafe { libc::pthread_self() } as u64, Ordering::Relaxed);
        direct.state.store(state, Ordering::Relaxed);
        context.busy_since.store(began + 1, Ordering::Relaxed);
        let number = (direct.run.load(Ordering::Relaxed) >> STATUS_BITS) + 1;
        direct.run.store((number << STATUS_BITS) | Status::Running as u64, Ordering::Release);
    }

    /// Counts the run. Whoever holds the lock counts, so a load and a store will do.
    fn count(&self) {
        let Borrowed(context) = self;
        let done = context.direct.done.load(Ordering::Relaxed) + 1;
        context.direct.done.store(done, Ordering::Relaxed);
        if done.is_multiple_of(COLLECT_AFTER) {
            let _ = context.mailbox.push_control(Control::Collect);
        }
    }
}

impl<J: Job> Drop for Borrowed<'_, J> {
    fn drop(&mut self) {
        self.0.busy_since.store(0, Ordering::Relaxed);
        self.0.direct.lock.give_back();
    }
}

/// This thread is attached to the context's interpreter from here to the drop.
struct AttachedRun<'a, J: Job> {
    context: &'a Arc<Context<J>>,
    /// Whether garbage was collected before.
    collects: bool,
    /// Set once the run has ended.
    end: Cell<Option<DirectEnd>>,
}

impl<'a, J: Job> AttachedRun<'a, J> {
    /// # Safety
    /// `state` is this thread's, which isn't attached and has borrowed the context.
    unsafe fn new(context: &'a Arc<Context<J>>, state: *mut ffi::PyThreadState) -> Self {
        // SAFETY: as the caller vouches. Nobody else has the GIL, see `DirectUser`.
        let collects = unsafe {
            ffi::PyEval_RestoreThread(state);
            context.direct.variables().enter(Attached::assume());
            ffi::PyGC_Disable() != 0
        };
        AttachedRun { context, collects, end: Cell::new(None) }
    }

    fn scope(&self) -> DirectScope<'_, J> {
        let direct = &self.context.direct;
        // SAFETY: attached, see the type. The context's thread keeps what these point to as long as
        // it serves, and lends the context only then.
        unsafe {
            DirectScope {
                py: Attached::assume(),
                context: self.context,
                namespace: &*direct.namespace.load(Ordering::Relaxed),
                local: &*direct.local.load(Ordering::Relaxed).cast(),
            }
        }
    }

    /// Ends the run: from here on nobody interrupts it.
    fn end(&self) -> DirectEnd {
        if let Some(end) = self.end.get() {
            return end;
        }
        let direct = &self.context.direct;
        // SAFETY: attached, see the type.
        let py = unsafe { Attached::assume() };
        let number = direct.run.load(Ordering::Relaxed) >> STATUS_BITS;
        let end = match Status::of(direct.run.swap(number << STATUS_BITS, Ordering::SeqCst)) {
            Status::Interrupted => DirectEnd::Interrupted,
            Status::TimedOut => DirectEnd::TimedOut,
            Status::ContextDied => DirectEnd::ContextDied,
            Status::None | Status::Running => DirectEnd::Done,
        };
        if direct.exception_set.swap(false, Ordering::Relaxed) {
            async_exc::clear(py, direct.ident.load(Ordering::Relaxed));
        }
        if end != DirectEnd::Done {
            self.context.forget_interrupts();
            lock_recovery::release_owned(py);
        }
        exception::clear(py);
        self.end.set(Some(end));
        end
    }
}

impl<J: Job> Drop for AttachedRun<'_, J> {
    fn drop(&mut self) {
        self.end();
        // SAFETY: attached, see the type.
        let py = unsafe { Attached::assume() };
        if python_threads::may_have_changed(py) {
            users::note_python_threads(python_threads::any(py));
        }
        self.context.direct.variables().exit(py);
        // SAFETY: attached; detached by this.
        unsafe {
            if self.collects {
                ffi::PyGC_Enable();
            }
            ffi::PyEval_SaveThread();
        }
    }
}

impl DirectState {
    /// The variables in which all of the context's code runs.
    fn variables(&self) -> &ContextVariables {
        // SAFETY: called by who holds the lock; the context's thread keeps them as long as it
        // serves, and lends the context only then.
        unsafe { &*self.variables.load(Ordering::Relaxed) }
    }
}
