//! The context's own thread: it makes its interpreter, serves the mailbox and ends what it made.
//!
//! It is over 400 lines because a thread's life is in one place, from its start to its end.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use super::direct;
use super::export_table;
use super::housekeeping::Housekeeping;
use super::job::{Job, Outcome, Scope};
use super::loop_state::LoopState;
use super::quarantine::Membership;
use super::start_retry::FailedStart;
use super::watchdog;
use super::{Context, Control, MAX_PARK_WITH_WAITERS, StartError, saved_state};
use crate::boot::python_threads;
use crate::cpython::context_variables::ContextVariables;
use crate::cpython::exception::Exception;
use crate::cpython::namespace::{MainModule, new_namespace};
use crate::cpython::object::{Attached, Object};
use crate::cpython::trace_functions::stop_tracing;
use crate::cpython::{async_exc, collector};
use crate::gil;
use crate::gil::users::{GilUser, SHARED};
use crate::interpreter::Interpreter;
use crate::interpreter::mode::Mode;
use crate::interrupt::lock_recovery;
use crate::sync::background::BACKGROUND;
use crate::sync::mailbox::{Next, Seq};
use crate::sync::reply_state::Cancel;
use crate::sync::wakeup;

type Prepared<J> = (Option<MainModule>, Object, <J as Job>::Local);

impl<J: Job> Context<J> {
    pub(super) fn thread_main(self: Arc<Self>) {
        let served = catch_unwind(AssertUnwindSafe(|| self.run_interpreter()));
        if served.is_err() {
            log_panic("a context thread");
        }
        self.kill(J::thread_ended());
        self.busy_since.store(0, Ordering::Relaxed);
        self.housekeeping.end_all();
        self.forget_interrupts();
        let handle = self.thread.lock().take();
        BACKGROUND.spawn(move || {
            // A panic was contained and logged on the thread itself.
            let _ = handle.map(JoinHandle::join);
            *self.quarantined.lock() = Membership::Ended;
            self.owner.ended();
        });
    }

    fn run_interpreter(self: &Arc<Self>) {
        // SAFETY: no preconditions; the value is an integer on every supported platform.
        let ident = unsafe { libc::pthread_self() } as u64;
        self.ident.store(ident, Ordering::Release);
        self.native_id.store(native_thread_id(), Ordering::Relaxed);
        let target: Weak<Self> = Arc::downgrade(self);
        watchdog::register(target);
        // Every thread starts from the main interpreter.
        let gil_user = Cell::new(Some(SHARED.enter_after_direct()));
        let mode = self.config.mode;
        let enter = |enter: fn(Mode) -> Result<Interpreter, String>| {
            let interpreter = enter(mode);
            if !mode.shares_gil() {
                gil_user.set(None);
            }
            interpreter
        };
        if let Some(failed) = self.serve_in(enter(Interpreter::enter), &gil_user, None) {
            gil_user.set(Some(SHARED.enter_after_direct()));
            self.serve_in(enter(Interpreter::enter_new), &gil_user, Some(failed));
        }
    }

    /// Starts in the interpreter and serves there to the end. If it can't start in an interpreter
    /// that another context has used before, returns that: the caller tries another one, and passes
    /// this as `failed`.
    fn serve_in(
        self: &Arc<Self>,
        interpreter: Result<Interpreter, String>,
        gil_user: &Cell<Option<GilUser<'static>>>,
        failed: Option<FailedStart>,
    ) -> Option<FailedStart> {
        let interpreter = match interpreter {
            Ok(interpreter) => interpreter,
            Err(why) => {
                self.owner.started(Err(StartError::Interpreter(why)));
                return None;
            }
        };
        self.open_gate(&interpreter);
        let may_retry = failed.is_none() && interpreter.is_reused();
        let served = catch_unwind(AssertUnwindSafe(|| match self.prepare(&interpreter) {
            Ok((_main, namespace, local)) => {
                // Before any code of the context runs, which may set some.
                let variables = direct::is_supported(self.config.mode)
                    .then(|| ContextVariables::copy_current(interpreter.attached()));
                let preloaded = self.run_preloads(interpreter.attached(), &local, &namespace);
                if may_retry && self.should_retry_start(&preloaded) {
                    self.begin_housekeeping(Housekeeping::Finalizers);
                    return true;
                }
                let serves = preloaded.is_ok();
                if serves {
                    self.note_started(failed);
                }
                self.owner.started(preloaded);
                if serves {
                    let variables = variables.as_ref();
                    let spin = self.config.spin;
                    self.serve_mailbox(&LoopState::new(
                        &interpreter,
                        &namespace,
                        &local,
                        variables,
                        gil_user,
                        spin,
                    ));
                } else {
                    self.housekeeping.drain();
                }
                // Finalizers of what is dropped from here on may take long, too.
                self.begin_housekeeping(Housekeeping::Teardown);
                false
            }
            Err(error) => {
                let failed = Err(StartError::Python(error));
                if may_retry && self.should_retry_start(&failed) {
                    self.begin_housekeeping(Housekeeping::Finalizers);
                    return true;
                }
                self.owner.started(failed);
                false
            }
        }));
        if let Ok(true) = served {
            self.end_housekeeping(interpreter.attached());
            stop_tracing(interpreter.attached());
            self.close_gate(&interpreter);
            self.clear_interrupt(interpreter.attached());
            return Some(FailedStart::new(interpreter));
        }
        self.close(J::thread_ended());
        stop_tracing(interpreter.attached());
        self.handle_control(&interpreter, None, self.mailbox.end());
        for object in self.handles.close() {
            // SAFETY: attached, and only this interpreter's objects are in the table.
            drop(unsafe { object.bind(interpreter.attached()) });
        }
        if self.config.mode == Mode::Worker {
            python_threads::leave(interpreter.attached());
        }
        // After a panic too: to set an exception in an interpreter that is gone would be undefined.
        self.close_gate(&interpreter);
        self.clear_interrupt(interpreter.attached());
        export_table::end_or_keep_interpreter(&self.exports, interpreter);
        if let Err(panic) = served {
            resume_unwind(panic);
        }
        None
    }

    fn open_gate(&self, interpreter: &Interpreter) {
        self.interpreter_number.store(interpreter.number(), Ordering::Relaxed);
        self.state.store(interpreter.state(), Ordering::Relaxed);
        *self.interpreter_gate.lock() = Some(interpreter.pointer());
        match self.config.mode {
            Mode::SubInterpreter => gil::enable_drop_requests(),
            Mode::Worker => python_threads::enter(interpreter.attached()),
            Mode::OwnGil => (),
        }
    }

    /// The context's namespace, which is that of the module `__main__` where the interpreter is its
    /// own, and what its jobs share. To be dropped from the last to the first.
    fn prepare(&self, interpreter: &Interpreter) -> Result<Prepared<J>, Exception> {
        let py = interpreter.attached();
        let (main, namespace) = match interpreter.mode() {
            Mode::Worker => (None, new_namespace(py)?),
            Mode::SubInterpreter | Mode::OwnGil => {
                let (main, namespace) = MainModule::install(py)?;
                (Some(main), namespace)
            }
        };
        Ok((main, namespace, J::prepare(py, &self.config.loop_options())?))
    }

    fn run_preloads(
        &self,
        py: Attached<'_>,
        local: &J::Local,
        namespace: &Object,
    ) -> Result<(), StartError> {
        let mut sources = self.config.preload.iter();
        sources.try_for_each(|source| self.run_preload(py, local, source, namespace))
    }

    fn run_preload(
        &self,
        py: Attached<'_>,
        local: &J::Local,
        source: &[u8],
        namespace: &Object,
    ) -> Result<(), StartError> {
        if !self.begin_housekeeping(Housekeeping::Preload) {
            return Err(StartError::Interpreter("it was killed while it started".into()));
        }
        let done = J::preload(py, local, source, namespace);
        self.end_housekeeping(py);
        done.map_err(StartError::Python)
    }

    /// Begins code that is no job, and that the watchdog checks like one. `false`: it may not run.
    pub(super) fn begin_housekeeping(&self, kind: Housekeeping) -> bool {
        let allowed = self.housekeeping.begin(kind);
        wakeup::notify_work();
        allowed
    }

    pub(super) fn end_housekeeping(&self, py: Attached<'_>) {
        if self.housekeeping.end() {
            self.clear_interrupt(py);
            self.forget_interrupts();
            repair_after_interrupt(py);
        }
    }

    fn serve_mailbox(self: &Arc<Self>, loop_state: &LoopState<'_, J::Local>) {
        loop {
            match self.mailbox.next() {
                Next::Run(seq, job) => {
                    self.run_job(seq, job, loop_state);
                    self.turn_if_late(loop_state);
                }
                Next::Control(messages) => {
                    self.begin_housekeeping(Housekeeping::Finalizers);
                    self.handle_control(loop_state.interpreter, Some(loop_state), messages);
                    self.end_housekeeping(loop_state.interpreter.attached());
                    self.turn_if_due(loop_state);
                }
                Next::Empty => self.wait_or_turn(loop_state),
                Next::Closed if self.waits_for_tasks() => self.wait_or_turn(loop_state),
                Next::Closed => return,
            }
        }
    }

    pub(super) fn park(&self) {
        if self.waiters.is_empty() {
            self.mailbox.park();
        } else {
            // All callers that were woken may be gone; then the next ones are woken.
            self.mailbox.park_at_most(MAX_PARK_WITH_WAITERS);
        }
    }

    pub(super) fn run_job(
        self: &Arc<Self>,
        seq: Seq,
        job: J,
        loop_state: &LoopState<'_, J::Local>,
    ) {
        let py = loop_state.interpreter.attached();
        wakeup::notify_work();
        self.wake_waiters(1);
        if self.should_run(&job) && job.state().start() {
            let began = self.now();
            // Not 0 if this job is nested in another. Only this thread writes it.
            let outer = self.busy_since.load(Ordering::Relaxed);
            self.busy_since.store(began, Ordering::Relaxed);
            let (namespace, local) = (loop_state.namespace, loop_state.local);
            let mut scope =
                Scope { py, context: self, namespace, local, seq: Some(seq), loop_state };
            let outcome = catch_unwind(AssertUnwindSafe(|| job.run(&mut scope)));
            self.busy_since.store(outer, Ordering::Relaxed);
            if outcome.is_err() {
                log_panic("a job");
                // It may have left an exception set, which the next job would meet.
                crate::cpython::exception::clear(py);
                job.reply_panicked();
            }
            match outcome {
                Ok(Outcome::Task) => self.keep_as_task(seq, &job),
                outcome => self.count(outcome.unwrap_or(Outcome::Failed)),
            }
        }
        if self.mailbox.end_running() {
            self.clear_interrupt(py);
            self.forget_interrupts();
            loop_state.needs_repair.set(true);
        }
        self.repair_if_needed(loop_state);
        // Its terms are freed before the next job begins.
        drop(job);
        loop_state.interpreter.maybe_yield_gil();
    }

    /// Repairs what interrupted code may have left behind. Not while an outer job waits, which may
    /// own locks that it still needs.
    pub(super) fn repair_if_needed(&self, loop_state: &LoopState<'_, J::Local>) {
        if loop_state.nesting.get() == 0 && loop_state.needs_repair.take() {
            let py = loop_state.interpreter.attached();
            self.begin_housekeeping(Housekeeping::Finalizers);
            stop_tracing(py);
            self.end_housekeeping(py);
            repair_after_interrupt(py);
        }
    }

    /// µs since the context was made, plus one.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_micros()).unwrap_or(u64::MAX - 1) + 1
    }

    /// Handles control messages. Without the thread's state, notices and tasks are about nothing
    /// any more.
    pub(super) fn handle_control(
        self: &Arc<Self>,
        interpreter: &Interpreter,
        loop_state: Option<&LoopState<'_, J::Local>>,
        messages: Vec<Control<J::Notice>>,
    ) {
        let py = interpreter.attached();
        let scope = loop_state.map(|loop_state| {
            let LoopState { namespace, local, .. } = *loop_state;
            Scope { py, context: self, namespace, local, seq: None, loop_state }
        });
        for message in messages {
            match (message, &scope) {
                (Control::DropHandle(id), _) => self.drop_handle(interpreter, id),
                (Control::Collect, _) => collector::collect_if_due(py),
                // SAFETY: attached, and only this interpreter's buffers are exported here.
                (Control::ReleaseBuffer(buffer), _) => unsafe { self.exports.release(buffer) },
                (Control::Notice(notice), Some(scope)) => J::notice(scope, notice),
                (Control::CancelTask(seq), Some(scope)) => {
                    let is_first = self.mailbox.note_cancelled(seq);
                    J::cancel_task(scope, seq, is_first);
                }
                (Control::Notice(_) | Control::CancelTask(_), None) => (),
            }
        }
    }

    /// Whether the job is to run. Cancels one whose caller is gone.
    fn should_run(&self, job: &J) -> bool {
        if !job.should_stop_for_dead_caller(self.config.on_caller_down) {
            return true;
        }
        if job.state().cancel() != Cancel::TooLate {
            self.counters.cancelled.fetch_add(1, Ordering::Relaxed);
        }
        false
    }

    fn drop_handle(&self, interpreter: &Interpreter, id: usize) {
        let object = self.handles.remove(id);
        // SAFETY: attached, and only this interpreter's objects are in the table.
        drop(object.map(|object| unsafe { object.bind(interpreter.attached()) }));
    }

    /// Clears an asynchronous exception that was set after the job's last bytecode, so that the
    /// next job doesn't raise it.
    pub(super) fn clear_interrupt(&self, py: Attached<'_>) {
        if self.interrupt_pending.swap(false, Ordering::Relaxed) {
            async_exc::clear(py, self.ident.load(Ordering::Relaxed));
        }
        crate::cpython::exception::clear(py);
    }

    /// Only this thread writes the first two counters, so that a load and a store will do. A job
    /// that returns just when another thread takes over may undo what that thread counts first.
    pub(super) fn count(&self, outcome: Outcome) {
        if self.successor().is_some() {
            // The counters belong to another thread now.
            return;
        }
        let counter = match outcome {
            Outcome::Done => &self.counters.done,
            Outcome::Failed => &self.counters.failed,
            Outcome::Interrupted => {
                self.counters.cancelled.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Outcome::Unwanted | Outcome::Task => return,
        };
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Waits for a thread that is just delivering an interrupt, without the GIL that it needs.
    fn close_gate(&self, interpreter: &Interpreter) {
        self.state.store(std::ptr::null_mut(), Ordering::Relaxed);
        interpreter.detached(|| *self.interpreter_gate.lock() = None);
    }
}

/// Repairs what interrupted code may leave behind in Python itself. Not while an outer job waits.
pub(super) fn repair_after_interrupt(py: Attached<'_>) {
    lock_recovery::release_owned(py);
    saved_state::clear_running_loop(py);
}

fn native_thread_id() -> u64 {
    // SAFETY: `gettid` can't fail.
    let id = unsafe { libc::syscall(libc::SYS_gettid) };
    u64::try_from(id).unwrap_or(0)
}

pub(super) fn log_panic(whose: &str) {
    // The panic hook has written the message and place; this adds the outcome.
    eprintln!("py_context_router: {whose} panicked; the panic was contained and answered");
}
