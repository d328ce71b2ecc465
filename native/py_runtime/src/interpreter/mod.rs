//! Interpreters: making, entering, leaving and ending them.
//!
//! A context's interpreter is one value, which exists from `enter` until it is dropped. The thread
//! that enters it uses it and ends it; no other thread does. Attaching and detaching goes through
//! here, so that the GIL policy sees every turn. Uses `boot` and what is below that. Never ends the
//! main interpreter, and knows no contexts.

mod create;
mod end;
pub(crate) mod exit_functions;
pub mod mode;
pub(crate) mod parked;
pub(crate) mod reset;
pub(crate) mod scheduler_states;
mod stack_limits;
#[cfg(Py_3_12)]
mod static_types;

use std::cell::Cell;
use std::time::Instant;

use pyo3_ffi as ffi;

use crate::cpython::object::{Attached, Object};
use crate::gil;
use crate::gil::users::SHARED;
use mode::Mode;

pub use end::run_atexit;

/// The interpreter of the current thread, with the thread's own state in it.
///
/// The state is kept for the thread's life: `threading.local`, numpy and torch keep theirs in it.
/// `enter` returns attached; drop must happen attached, after every object has been dropped.
#[derive(Debug)]
pub struct Interpreter {
    mode: Mode,
    tstate: *mut ffi::PyThreadState,
    attached_since: Cell<Instant>,
    /// How often this thread has yielded to threads that aren't counted as waiting.
    yields: Cell<u32>,
    /// Resets the interpreter for the next context, where interpreters are reused.
    reset: Option<Object>,
    /// Another context has used it before.
    is_reused: bool,
}

/// The interpreter, for another thread that attaches to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InterpreterPtr(*mut ffi::PyInterpreterState);

// SAFETY: the pointer is used only under the context's gate, which the owner closes before it
// ends the interpreter.
unsafe impl Send for InterpreterPtr {}

impl InterpreterPtr {
    /// The main interpreter, which is never ended. Null before Python runs.
    fn main() -> Self {
        // SAFETY: the call only reads a pointer.
        InterpreterPtr(unsafe { ffi::PyInterpreterState_Main() })
    }

    /// The interpreter of a thread's state.
    ///
    /// # Safety
    /// The state is alive.
    unsafe fn of(state: *mut ffi::PyThreadState) -> Self {
        // SAFETY: as the caller vouches.
        InterpreterPtr(unsafe { ffi::PyThreadState_GetInterpreter(state) })
    }
}

impl Interpreter {
    fn attached_with(tstate: *mut ffi::PyThreadState, mode: Mode) -> Self {
        let (attached_since, yields) = (Cell::new(Instant::now()), Cell::new(0));
        Interpreter { mode, tstate, attached_since, yields, reset: None, is_reused: false }
    }

    /// How it gets its Python.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// The token for touching Python.
    #[must_use]
    pub fn attached(&self) -> Attached<'_> {
        // SAFETY: attached except in `detached`; the token borrows from `self`.
        unsafe { Attached::assume() }
    }

    /// Detaches for `work`, which touches nothing of Python, and attaches again, also if it panics.
    pub(crate) fn detached<T>(&self, work: impl FnOnce() -> T) -> T {
        let _detached = Detached::new(self);
        work()
    }

    /// Hands the GIL off, or yields it, if this thread has had it for long.
    pub(crate) fn maybe_yield_gil(&self) {
        let attached = self.attached_since.get().elapsed();
        if self.mode.shares_gil() && gil::must_hand_off(attached) {
            // SAFETY: attached, with our own state.
            unsafe { gil::hand_off(self.tstate) };
            self.attached_since.set(Instant::now());
        } else if gil::must_yield(attached) {
            let times = self.yields.get();
            self.yields.set(times.wrapping_add(1));
            // SAFETY: as above.
            unsafe { gil::yield_gil(self.tstate, self.mode.shares_gil(), times) };
            self.attached_since.set(Instant::now());
        }
    }

    /// Whether another context has used it before, and may have left something in it.
    pub(crate) fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// The pointer for [`with_attached`].
    pub(crate) fn pointer(&self) -> InterpreterPtr {
        // SAFETY: the state is alive.
        unsafe { InterpreterPtr::of(self.tstate) }
    }

    /// This thread's state, alive as long as `self`.
    pub(crate) fn state(&self) -> *mut ffi::PyThreadState {
        self.tstate
    }

    /// CPython's own number for the interpreter; 0 is the main one.
    #[must_use]
    pub fn number(&self) -> i64 {
        // SAFETY: the interpreter is alive as long as `self`.
        unsafe { ffi::PyInterpreterState_GetID(self.pointer().0) }
    }
}

/// The thread is detached as long as this lives. A panic must not leave it so: the code that
/// contains the panic takes the thread for attached.
struct Detached<'a>(&'a Interpreter);

impl<'a> Detached<'a> {
    fn new(interpreter: &'a Interpreter) -> Self {
        // SAFETY: attached, see the type's invariant, on the owning thread (the type is not
        // `Send`).
        unsafe { ffi::PyEval_SaveThread() };
        Detached(interpreter)
    }
}

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        let Detached(interpreter) = self;
        // SAFETY: detached by `new`, with the same state.
        unsafe { gil::attach(interpreter.tstate, interpreter.mode.shares_gil()) };
        interpreter.attached_since.set(Instant::now());
    }
}

/// Runs `f` attached to the main interpreter, from a thread that has nothing to do with it.
///
/// # Safety
/// The current thread is not attached to any interpreter.
pub(crate) unsafe fn with_main_attached(f: impl FnOnce()) {
    let _user = SHARED.enter();
    // SAFETY: Python runs and is never finalized.
    unsafe { with_attached(InterpreterPtr::main(), f) };
}

/// Runs `f` attached to `interpreter`, from a thread that has nothing to do with it.
///
/// # Safety
/// The interpreter is not ended meanwhile, and the current thread is not attached to any.
pub(crate) unsafe fn with_attached(interpreter: InterpreterPtr, f: impl FnOnce()) {
    // SAFETY: the caller keeps the interpreter alive; the state is made, used and ended here.
    unsafe {
        let Ok(state) = new_state(interpreter) else { return };
        ffi::PyEval_RestoreThread(state);
        f();
        end_current_state(state);
    }
}

/// Ends the state that this thread is attached with, and so detaches it.
///
/// # Safety
/// The thread is attached with `state`, which nobody uses afterwards.
unsafe fn end_current_state(state: *mut ffi::PyThreadState) {
    // SAFETY: as the caller vouches. Clearing runs destructors, deleting detaches.
    unsafe {
        ffi::PyThreadState_Clear(state);
        ffi::PyThreadState_DeleteCurrent();
    }
}

/// Ends another state of the interpreter that this thread is attached to.
///
/// # Safety
/// No thread is attached with `state`, and nobody uses it afterwards.
unsafe fn end_state(state: *mut ffi::PyThreadState) {
    // SAFETY: as the caller vouches.
    unsafe {
        ffi::PyThreadState_Clear(state);
        ffi::PyThreadState_Delete(state);
    }
}

/// A new state, made by this thread.
///
/// # Safety
/// The interpreter is alive.
unsafe fn new_state(interpreter: InterpreterPtr) -> Result<*mut ffi::PyThreadState, String> {
    // SAFETY: as the caller vouches.
    let state = unsafe { ffi::PyThreadState_New(interpreter.0) };
    if state.is_null() { Err("no memory for a thread state".into()) } else { Ok(state) }
}
