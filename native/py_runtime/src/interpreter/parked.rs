//! Interpreters that no thread is in, and the list of those that wait for the next context.

use parking_lot::Mutex;
use pyo3_ffi as ffi;

use super::mode::Mode;
use super::{Interpreter, InterpreterPtr, end_current_state, end_state, new_state, with_attached};
use crate::cpython::object::Object;
use crate::cpython::unbound::Unbound;
use crate::gil;
use crate::gil::users::SHARED;
use crate::sync::os_thread;

/// An interpreter that no thread is in. It keeps a state that no thread uses. CPython up to 3.12
/// can't make a state in an interpreter that has none ("thread state already initialized", and
/// aborts).
#[derive(Debug)]
#[must_use = "only its owner can end it"]
pub(crate) struct ParkedInterpreter {
    mode: Mode,
    parked_state: *mut ffi::PyThreadState,
    reset: Option<Unbound>,
}

// SAFETY: the state is never attached, and its owner may delete it on any thread.
unsafe impl Send for ParkedInterpreter {}

impl ParkedInterpreter {
    /// Its mode.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Attaches this thread to it, which owns it from now on.
    pub(crate) fn enter(self) -> Result<Interpreter, String> {
        let ParkedInterpreter { mode, parked_state, reset } = self;
        // SAFETY: a parked interpreter is alive, and no thread's but ours from now on.
        let tstate = unsafe { new_state(InterpreterPtr::of(parked_state)) }?;
        // SAFETY: the new state is of this thread and not attached; no thread uses the parked
        // state. It has to go: an asynchronous exception for a thread might be set on it instead.
        unsafe {
            gil::attach(tstate, mode.shares_gil());
            end_state(parked_state);
        }
        let mut entered = Interpreter::attached_with(tstate, mode);
        // SAFETY: attached to the interpreter that the function belongs to.
        entered.reset = reset.map(|reset| unsafe { reset.bind(entered.attached()) });
        entered.is_reused = true;
        Ok(entered)
    }

    /// Ends it, on a thread of its own: that runs Python code, which may take long. Without a
    /// thread it is left behind.
    pub(crate) fn end(self) {
        let end = move || {
            let _user = self.mode.shares_gil().then(|| SHARED.enter_after_direct());
            if let Ok(mut entered) = self.enter() {
                entered.reset = None;
            }
        };
        let _ = os_thread::spawn_python("py_end", end);
    }

    /// Runs `f` attached to it. It stays parked.
    pub(crate) fn with_attached(&self, f: impl FnOnce()) {
        let _user = self.mode.shares_gil().then(|| SHARED.enter());
        // SAFETY: a parked interpreter is alive as long as `self`.
        unsafe { with_attached(InterpreterPtr::of(self.parked_state), f) };
    }
}

impl Interpreter {
    /// Detaches for good and leaves only the parked state.
    pub(super) fn detach_for_good(&mut self) -> Result<ParkedInterpreter, String> {
        let reset = self.reset.take().map(Object::unbind);
        // SAFETY: the interpreter is alive. The thread is attached with its own state, which is
        // deleted.
        unsafe {
            let parked_state = new_state(self.pointer());
            end_current_state(self.tstate);
            Ok(ParkedInterpreter { mode: self.mode, parked_state: parked_state?, reset })
        }
    }
}

static PARKED: Mutex<Vec<ParkedInterpreter>> = Mutex::new(Vec::new());

/// Parks a reset interpreter for the next context.
pub(crate) fn put(parked: ParkedInterpreter) {
    PARKED.lock().push(parked);
}

/// Takes a parked interpreter of this mode.
pub(crate) fn take(mode: Mode) -> Option<ParkedInterpreter> {
    let mut parked = PARKED.lock();
    let place = parked.iter().rposition(|one| one.mode() == mode)?;
    Some(parked.swap_remove(place))
}
