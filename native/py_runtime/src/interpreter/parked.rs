//! Interpreters that no thread is in, and those of them that wait for the next context.

use parking_lot::Mutex;
use pyo3_ffi as ffi;

use super::mode::Mode;
use super::{Interpreter, InterpreterPtr, new_state, visit};
use crate::cpython::unbound::Escaped;
use crate::gil;
use crate::sync::os_thread;

/// An interpreter that no thread is in, by a state that no thread uses. CPython up to 3.12 can't make
/// a state in an interpreter that has none ("thread state already initialized", and aborts).
#[derive(Debug)]
#[must_use = "nobody else can end it"]
pub(crate) struct Vacant {
    mode: Mode,
    keeper: *mut ffi::PyThreadState,
    reset: Option<Escaped>,
}

// SAFETY: the state is never attached; it only changes hands, and whoever has it may delete it.
unsafe impl Send for Vacant {}

impl Vacant {
    /// Its mode.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Attaches this thread to it, which owns it from now on.
    pub(crate) fn enter(self) -> Result<Interpreter, String> {
        let Vacant { mode, keeper, reset } = self;
        // SAFETY: a vacant interpreter is alive, and no thread's but ours from now on.
        let tstate =
            unsafe { new_state(InterpreterPtr(ffi::PyThreadState_GetInterpreter(keeper))) }?;
        // SAFETY: the new state is of this thread and not attached; the keeper's is nobody's, and
        // while it stayed, a blow meant for a thread might find it instead.
        unsafe {
            gil::attach(tstate, mode.shares_gil());
            ffi::PyThreadState_Clear(keeper);
            ffi::PyThreadState_Delete(keeper);
        }
        let mut entered = Interpreter::attached_with(tstate, mode);
        // SAFETY: attached to the interpreter that the function belongs to.
        entered.reset = reset.map(|reset| unsafe { reset.recover(entered.attached()) });
        entered.is_used = true;
        Ok(entered)
    }

    /// Ends it, on a thread of its own: that runs Python code, which may take long. Without a thread to be
    /// had it is left behind.
    pub(crate) fn end(self) {
        let end = move || {
            if let Ok(mut entered) = self.enter() {
                entered.reset = None;
            }
        };
        let _ = os_thread::spawn_python("py_end", end);
    }

    /// Runs `f` attached to it, and leaves it vacant.
    pub(crate) fn visit(&self, f: impl FnOnce()) {
        // SAFETY: a vacant interpreter is alive, and stays so while we have it.
        unsafe { visit(InterpreterPtr(ffi::PyThreadState_GetInterpreter(self.keeper)), f) };
    }
}

impl Interpreter {
    /// Detaches for good and leaves only a state that keeps the interpreter.
    pub(super) fn leave(&mut self) -> Result<Vacant, String> {
        let reset = self.reset.take().map(Escaped::new);
        // SAFETY: the interpreter is alive. The thread is attached with its own state, which goes.
        unsafe {
            let keeper = new_state(self.pointer());
            ffi::PyThreadState_Clear(self.tstate);
            ffi::PyThreadState_DeleteCurrent();
            Ok(Vacant { mode: self.mode, keeper: keeper?, reset })
        }
    }
}

static SPARES: Mutex<Vec<Vacant>> = Mutex::new(Vec::new());

/// Sets a reset interpreter aside.
pub(crate) fn put(vacant: Vacant) {
    SPARES.lock().push(vacant);
}

/// Takes one of a mode that was set aside.
pub(crate) fn take(mode: Mode) -> Option<Vacant> {
    let mut spares = SPARES.lock();
    let place = spares.iter().rposition(|spare| spare.mode() == mode)?;
    Some(spares.swap_remove(place))
}
