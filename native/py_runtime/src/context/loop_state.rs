//! The state of a context's thread while it serves.

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::boot::python_threads;
use crate::cpython::context_variables::ContextVariables;
use crate::cpython::object::Object;
use crate::gil::users::{GilUser, OwnThreads, SHARED};
use crate::interpreter::Interpreter;
use crate::interpreter::mode::Mode;
use crate::sync::adaptive_spin::AdaptiveSpin;
use crate::sync::event_fd::EventFd;

/// What the thread's loop needs, and what is known of the jobs on the thread. A job that waits runs
/// the loop too.
#[allow(missing_debug_implementations, reason = "`Local` needs none")]
pub(crate) struct LoopState<'a, L> {
    pub(super) interpreter: &'a Interpreter,
    pub(super) namespace: &'a Object,
    pub(super) local: &'a L,
    /// The values of context variables, of a context that may lend itself.
    pub(super) variables: Option<&'a ContextVariables>,
    /// Counts the thread as a user of the shared GIL, while it has work.
    pub(super) gil_user: &'a Cell<Option<GilUser<'static>>>,
    /// Of an interpreter of its own.
    pub(super) own_threads: OwnThreads,
    pub(super) spin: RefCell<AdaptiveSpin>,
    /// How many jobs wait, each nested in the one before.
    pub(super) nesting: Cell<u32>,
    /// Whether what runs is a finalizer nested in a job that waits.
    pub(super) in_finalizer: Cell<bool>,
    /// Whether a job was interrupted, and what it may have left behind is still to be repaired.
    pub(super) needs_repair: Cell<bool>,
    /// Whether the event loop has a turn, on the stack.
    pub(super) in_turn: Cell<bool>,
    /// When its last turn ended.
    pub(super) turned_at: Cell<Instant>,
    /// What ends a wait for the event loop's descriptor. Made at need.
    pub(super) poll_event: OnceCell<Arc<EventFd>>,
}

impl<'a, L> LoopState<'a, L> {
    pub(super) fn new(
        interpreter: &'a Interpreter,
        namespace: &'a Object,
        local: &'a L,
        variables: Option<&'a ContextVariables>,
        gil_user: &'a Cell<Option<GilUser<'static>>>,
        spin: Duration,
    ) -> Self {
        LoopState {
            interpreter,
            namespace,
            local,
            variables,
            gil_user,
            own_threads: OwnThreads::new(interpreter.attached(), interpreter.state()),
            spin: RefCell::new(AdaptiveSpin::new(spin)),
            nesting: Cell::new(0),
            in_finalizer: Cell::new(false),
            needs_repair: Cell::new(false),
            in_turn: Cell::new(false),
            turned_at: Cell::new(Instant::now()),
            poll_event: OnceCell::new(),
        }
    }

    /// What ends a wait for the event loop's descriptor. `None`: the process has no descriptor
    /// left.
    pub(super) fn poll_event(&self) -> Option<&Arc<EventFd>> {
        if self.poll_event.get().is_none() {
            let _ = self.poll_event.set(Arc::new(EventFd::new().ok()?));
        }
        self.poll_event.get()
    }
}

impl<L> LoopState<'_, L> {
    /// Waits by calling `wait`, detached, and not counted as a user of the GIL.
    pub(super) fn idle<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.note_python_threads();
        self.interpreter.detached(|| {
            let counted = self.gil_user.take().is_some();
            let result = wait();
            self.gil_user.set(counted.then(|| SHARED.enter_after_direct()));
            result
        })
    }

    /// Notes whether threads that Python code has started may use the GIL from now on. Attached,
    /// and still counted.
    fn note_python_threads(&self) {
        let py = self.interpreter.attached();
        match self.interpreter.mode() {
            Mode::Worker => python_threads::note_if_changed(py, &SHARED),
            Mode::SubInterpreter => self.own_threads.note(py),
            Mode::OwnGil => (),
        }
    }
}
