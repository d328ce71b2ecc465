//! The context's own thread: it makes its interpreter, serves the mailbox and ends what it made.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::null_mut;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use pyo3_ffi as ffi;

use super::loop_state::Desk;
use super::start_retry::Suspect;
use super::{Context, Release, StartError, saved_state};
use crate::boot::python_threads;
use crate::context::export_table;
use crate::context::housekeeping::Chore;
use crate::context::job::{Job, Outcome, Scope};
use crate::context::quarantine::Bed;
use crate::context::watchdog;
use crate::cpython::async_exc;
use crate::cpython::exception::Exception;
use crate::cpython::namespace::{MainModule, new_namespace};
use crate::cpython::object::{Attached, Object};
use crate::gil;
use crate::interpreter::Interpreter;
use crate::interpreter::mode::Mode;
use crate::interrupt::lock_recovery;
use crate::sync::adaptive_spin::Spin;
use crate::sync::background::SOON;
use crate::sync::mailbox::Next;
use crate::sync::reply_state::Cancel;
use crate::sync::wakeup;

/// How long callers that wait for room may be kept waiting by others that are gone.
const SOON_AGAIN: Duration = Duration::from_millis(1);

type Prepared<J> = (Option<MainModule>, Object, <J as Job>::Local);

impl<J: Job> Context<J> {
    pub(super) fn thread_main(self: Arc<Self>) {
        let served = catch_unwind(AssertUnwindSafe(|| self.serve()));
        if served.is_err() {
            log_panic("a context thread");
        }
        self.kill(J::thread_ended());
        self.busy_since.store(0, Ordering::Relaxed);
        self.chores.end_all();
        self.forget_interrupts();
        let handle = self.thread.lock().take();
        SOON.run(move || {
            // A panic was contained and logged on the thread itself.
            let _ = handle.map(JoinHandle::join);
            *self.bed.lock() = Bed::Gone;
            self.owner.ended();
        });
    }

    fn serve(self: &Arc<Self>) {
        // SAFETY: no preconditions; the value is an integer on every supported platform.
        let ident = unsafe { libc::pthread_self() } as u64;
        self.ident.store(ident, Ordering::Release);
        self.native_id.store(native_thread_id(), Ordering::Relaxed);
        let watched: Weak<Self> = Arc::downgrade(self);
        watchdog::watch(watched);
        let first = Interpreter::enter(self.config.mode);
        if let Some(suspect) = self.serve_in(first, None) {
            self.serve_in(Interpreter::enter_new(self.config.mode), Some(suspect));
        }
    }

    /// Starts in the interpreter and serves there to the end. If it can't start because of what may have
    /// been left in the interpreter, it gives that back, not to be used before it has started in another
    /// one: `suspect`.
    fn serve_in(
        self: &Arc<Self>,
        interpreter: Result<Interpreter, String>,
        suspect: Option<Suspect>,
    ) -> Option<Suspect> {
        let interpreter = match interpreter {
            Ok(interpreter) => interpreter,
            Err(why) => {
                self.owner.started(Err(StartError::Interpreter(why)));
                return None;
            }
        };
        self.open_gate(&interpreter);
        let may_retry = suspect.is_none() && interpreter.is_used();
        let served = catch_unwind(AssertUnwindSafe(|| match Self::prepare(&interpreter) {
            Ok((_main, namespace, local)) => {
                let preloaded = self.run_preloads(interpreter.attached(), &local, &namespace);
                if may_retry && self.is_worth_a_retry(&preloaded) {
                    self.begin(Chore::Release);
                    return true;
                }
                let serves = preloaded.is_ok();
                if serves {
                    self.has_started(suspect);
                }
                self.owner.started(preloaded);
                if serves {
                    self.serve_mailbox(&Desk {
                        interpreter: &interpreter,
                        namespace: &namespace,
                        local: &local,
                        spin: RefCell::new(Spin::new(self.config.spin)),
                        waiting: Cell::new(0),
                        releasing: Cell::new(false),
                        struck: Cell::new(false),
                    });
                } else {
                    self.chores.drain();
                }
                // Finalizers of what is let go of from here on may take long, too.
                self.begin(Chore::Ending);
                false
            }
            Err(error) => {
                let failed = Err(StartError::Python(error));
                if may_retry && self.is_worth_a_retry(&failed) {
                    self.begin(Chore::Release);
                    return true;
                }
                self.owner.started(failed);
                false
            }
        }));
        if let Ok(true) = served {
            self.end_chore(interpreter.attached());
            stop_tracing(interpreter.attached());
            self.close_gate(&interpreter);
            self.parry(interpreter.attached());
            return Some(Suspect::new(interpreter));
        }
        self.close(J::thread_ended());
        stop_tracing(interpreter.attached());
        self.let_go_last(&interpreter);
        for object in self.holds.end() {
            // SAFETY: attached, and only this interpreter's objects are held here.
            drop(unsafe { object.recover(interpreter.attached()) });
        }
        if self.config.mode == Mode::Worker {
            python_threads::leave(interpreter.attached());
        }
        // After a panic too: a blow in an interpreter that is gone would be undefined.
        self.close_gate(&interpreter);
        self.parry(interpreter.attached());
        export_table::settle(&self.exports, interpreter);
        if let Err(panic) = served {
            resume_unwind(panic);
        }
        None
    }

    fn open_gate(&self, interpreter: &Interpreter) {
        self.interpreter_number.store(interpreter.number(), Ordering::Relaxed);
        self.state.store(interpreter.state(), Ordering::Relaxed);
        *self.gate.lock() = Some(interpreter.pointer());
        match self.config.mode {
            Mode::SubInterpreter => gil::enable_drop_requests(),
            Mode::Worker => python_threads::enter(interpreter.attached()),
            Mode::OwnGil => (),
        }
    }

    /// The context's namespace, which is that of the module `__main__` where the interpreter is its
    /// own, and what its jobs share. To be dropped from the last to the first.
    fn prepare(interpreter: &Interpreter) -> Result<Prepared<J>, Exception> {
        let at = interpreter.attached();
        let (main, namespace) = match interpreter.mode() {
            Mode::Worker => (None, new_namespace(at)?),
            Mode::SubInterpreter | Mode::OwnGil => {
                let (main, namespace) = MainModule::install(at)?;
                (Some(main), namespace)
            }
        };
        Ok((main, namespace, J::prepare(at)?))
    }

    fn run_preloads(
        &self,
        at: Attached<'_>,
        local: &J::Local,
        namespace: &Object,
    ) -> Result<(), StartError> {
        let mut sources = self.config.preload.iter();
        sources.try_for_each(|source| self.run_preload(at, local, source, namespace))
    }

    fn run_preload(
        &self,
        at: Attached<'_>,
        local: &J::Local,
        source: &[u8],
        namespace: &Object,
    ) -> Result<(), StartError> {
        if !self.begin(Chore::Preload) {
            return Err(StartError::Interpreter("it was killed while it started".into()));
        }
        let done = J::preload(at, local, source, namespace);
        self.end_chore(at);
        done.map_err(StartError::Python)
    }

    /// Begins something that is no job, and is looked after like one. `false`: it may not run.
    pub(super) fn begin(&self, chore: Chore) -> bool {
        let allowed = self.chores.begin(chore);
        wakeup::note_work();
        allowed
    }

    fn end_chore(&self, at: Attached<'_>) {
        if self.chores.end() {
            self.parry(at);
            self.forget_interrupts();
            mend(at);
        }
    }

    fn serve_mailbox(self: &Arc<Self>, desk: &Desk<'_, J::Local>) {
        loop {
            match self.mailbox.next() {
                Next::Run(_, job) => self.run(job, desk),
                Next::Release(released) => {
                    self.begin(Chore::Release);
                    self.let_go(desk.interpreter, desk.local, released);
                    self.end_chore(desk.interpreter.attached());
                }
                Next::Empty => desk.interpreter.detached(|| {
                    self.admit(self.config.max_queue);
                    desk.spin
                        .borrow_mut()
                        .wait_until(|| !self.mailbox.looks_empty(), || self.park());
                }),
                Next::Closed => return,
            }
        }
    }

    fn park(&self) {
        if self.lobby.is_empty() {
            self.mailbox.park();
        } else {
            // All who were told of room may be gone; then the next ones are told.
            self.mailbox.park_at_most(SOON_AGAIN);
        }
    }

    pub(super) fn run(self: &Arc<Self>, job: J, desk: &Desk<'_, J::Local>) {
        let at = desk.interpreter.attached();
        wakeup::note_work();
        self.admit(1);
        if self.is_wanted(&job) && job.state().start() {
            let began = u64::try_from(self.born.elapsed().as_micros()).unwrap_or(u64::MAX - 1) + 1;
            // Not 0 if this job runs while another waits. Nobody else writes it.
            let outer = self.busy_since.load(Ordering::Relaxed);
            self.busy_since.store(began, Ordering::Relaxed);
            let (namespace, local) = (desk.namespace, desk.local);
            let mut scope = Scope { at, context: self, namespace, local, desk };
            let outcome = catch_unwind(AssertUnwindSafe(|| job.run(&mut scope)));
            self.busy_since.store(outer, Ordering::Relaxed);
            if outcome.is_err() {
                log_panic("a job");
                // What it left unfinished may have left an exception, which the next job would meet.
                crate::cpython::exception::clear(at);
                job.panicked();
            }
            self.count(outcome.unwrap_or(Outcome::Failed));
        }
        if self.mailbox.end_running() {
            self.parry(at);
            self.forget_interrupts();
            desk.struck.set(true);
        }
        // A job that waits below may have taken locks which it still needs.
        if desk.waiting.get() == 0 && desk.struck.take() {
            self.begin(Chore::Release);
            stop_tracing(at);
            self.end_chore(at);
            mend(at);
        }
        // Its terms are freed before the next job's turn, not while others wait.
        drop(job);
        desk.interpreter.take_turns();
    }

    /// Lets go of what was handed back.
    pub(super) fn let_go(
        &self,
        interpreter: &Interpreter,
        local: &J::Local,
        released: Vec<Release<J::Notice>>,
    ) {
        for release in released {
            match release {
                Release::Hold(number) => self.let_go_of_held(interpreter, number),
                // SAFETY: attached, and only this interpreter's buffers are exported here.
                Release::Export(buffer) => unsafe { self.exports.release(buffer) },
                Release::Notice(notice) => J::notice(interpreter.attached(), local, notice),
            }
        }
    }

    /// Whether the job is to run. One whose caller is gone is dropped here.
    fn is_wanted(&self, job: &J) -> bool {
        if !job.is_orphan(self.config.orphans) {
            return true;
        }
        if job.state().cancel() != Cancel::TooLate {
            self.counters.cancelled.fetch_add(1, Ordering::Relaxed);
        }
        false
    }

    /// Lets go of what was handed back too late to be looked at; what notices are about went with
    /// the thread's `Local`.
    fn let_go_last(&self, interpreter: &Interpreter) {
        for release in self.mailbox.end() {
            match release {
                Release::Hold(number) => self.let_go_of_held(interpreter, number),
                // SAFETY: as in `let_go`.
                Release::Export(buffer) => unsafe { self.exports.release(buffer) },
                Release::Notice(_) => (),
            }
        }
    }

    fn let_go_of_held(&self, interpreter: &Interpreter, number: usize) {
        let object = self.holds.remove(number);
        // SAFETY: attached, and only this interpreter's objects are held here.
        drop(object.map(|object| unsafe { object.recover(interpreter.attached()) }));
    }

    /// Clears a blow that came after the job's last bytecode, so that it doesn't hit the next.
    pub(super) fn parry(&self, at: Attached<'_>) {
        if self.hit.swap(false, Ordering::Relaxed) {
            async_exc::take_back(at, self.ident.load(Ordering::Relaxed));
        }
        crate::cpython::exception::clear(at);
    }

    /// Only this thread adds to the first two, so that a load and a store will do. A job that returns
    /// in the very moment in which another thread takes over may take back what that one counts first.
    fn count(&self, outcome: Outcome) {
        if self.successor().is_some() {
            // They are another thread's now.
            return;
        }
        let counter = match outcome {
            Outcome::Done => &self.counters.done,
            Outcome::Failed => &self.counters.failed,
            Outcome::Interrupted => {
                self.counters.cancelled.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Outcome::Unwanted => return,
        };
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Waits for a thread that is just striking, without the GIL that it needs.
    fn close_gate(&self, interpreter: &Interpreter) {
        self.state.store(std::ptr::null_mut(), Ordering::Relaxed);
        interpreter.detached(|| *self.gate.lock() = None);
    }
}

/// Takes away what traces and profiles the code of this thread. What a job has set that was interrupted
/// could break the next one, or keep the context from its end; letting go of it may run finalizers.
fn stop_tracing(_: Attached<'_>) {
    // SAFETY: attached; a function that is null takes no argument.
    unsafe {
        ffi::PyEval_SetTrace(None, null_mut());
        ffi::PyEval_SetProfile(None, null_mut());
    }
}

/// Undoes what code may leave in Python itself that was interrupted in the middle of it. Where none waits.
fn mend(at: Attached<'_>) {
    lock_recovery::give_back(at);
    saved_state::forget_running(at);
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
