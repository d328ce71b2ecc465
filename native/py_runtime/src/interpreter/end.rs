//! Leaving an interpreter: it is ended, parked for the next context, or left behind.

use std::sync::mpsc;
use std::time::Duration;

use pyo3_ffi as ffi;

use super::exit_functions::{collect_garbage, run_exit_functions};
use super::mode::Mode;
use super::parked::{self, ParkedInterpreter};
use super::{
    Interpreter, end_current_state, end_state, new_state, reset, scheduler_states,
    with_main_attached,
};
use crate::boot::{self, python_threads};
#[cfg(not(Py_3_12))]
use crate::cpython::code;
use crate::cpython::exception::clear;
#[cfg(not(Py_3_12))]
use crate::cpython::namespace::library_namespace;
use crate::cpython::object::{Attached, Object};
use crate::gil;
use crate::sync::os_thread;

impl Drop for Interpreter {
    fn drop(&mut self) {
        match self.mode {
            // SAFETY: attached with `tstate`, which goes with `self`.
            Mode::Worker => unsafe { end_current_state(self.tstate) },
            Mode::SubInterpreter | Mode::OwnGil => self.end_interpreter(),
        }
    }
}

impl Interpreter {
    /// Ends the interpreter, unless threads that Python code started still run in it: CPython
    /// aborts the process then ("not the last thread"). Such an interpreter is left behind.
    fn end_interpreter(&mut self) {
        self.join_python_threads();
        if self.try_reset() {
            match self.detach_for_good() {
                Ok(parked) => parked::put(parked),
                Err(why) => eprintln!("py_context_router: an interpreter is left behind: {why}"),
            }
            return;
        }
        self.run_last_code();
        // SAFETY: attached with the interpreter's own state. Both branches detach: ending both, or
        // leaving the state behind with the interpreter.
        unsafe {
            let why = if !self.is_last_thread() {
                "threads started by Python code outlive their context"
            } else if scheduler_states::count(self.number()) > 0 {
                "its callers' threads have states in it, and it can't be reset"
            } else if self.has_shared_code() {
                "it can't be reset"
            } else {
                ffi::Py_EndInterpreter(self.tstate);
                release_leftover_gil();
                return;
            };
            eprintln!("py_context_router: an interpreter is left behind: {why}");
            ffi::PyEval_SaveThread();
        }
    }

    /// Runs what CPython runs only when it has put its own standard streams back, which are the
    /// VM's: exit functions, and the finalizers of what is garbage by now. And before 3.12 an
    /// `atexit` callback may start a thread, and CPython looks for threads only after it has run
    /// them.
    fn run_last_code(&self) {
        let py = self.attached();
        run_exit_functions(py);
        #[cfg(Py_3_12)]
        self.join_python_threads();
        #[cfg(not(Py_3_12))]
        join_late_threads(py);
        collect_garbage(py);
    }

    /// As dropping it, but an interpreter that could be reset is returned instead of being parked
    /// for the next context.
    pub(crate) fn end_or_park(self) -> Option<ParkedInterpreter> {
        let mut this = std::mem::ManuallyDrop::new(self);
        this.join_python_threads();
        if this.try_reset() {
            return this.detach_for_good().ok();
        }
        // Joins threads again, of which there are none, and doesn't reset again.
        this.reset = None;
        drop(std::mem::ManuallyDrop::into_inner(this));
        None
    }

    /// Leaves the interpreter without a thread; this one is detached. `None`: it is lost.
    pub(crate) fn park(self) -> Option<ParkedInterpreter> {
        let mut this = std::mem::ManuallyDrop::new(self);
        this.join_python_threads();
        this.detach_for_good().ok()
    }

    /// Resets the interpreter, if it is to be reused. `false`: it isn't, or can't be reset.
    fn try_reset(&mut self) -> bool {
        // Resetting runs Python code, so threads are checked for before and after.
        if self.reset.is_none() || !self.is_last_thread() || !self.renew_state() {
            return false;
        }
        self.reset
            .as_ref()
            .is_some_and(|reset| reset::reset(self.attached(), reset) && self.is_last_thread())
    }

    /// Replaces the thread's state. The old one is cleared with what is in it, such as the values
    /// of context variables, whose finalizers may change what a reset is to restore. `false`: no
    /// memory for one.
    fn renew_state(&mut self) -> bool {
        // SAFETY: the interpreter is alive, and the thread attached with its own state, which is
        // cleared when it is not attached any more. No other thread has a pointer to it: the gate
        // is closed.
        unsafe {
            let Ok(new) = new_state(self.pointer()) else { return false };
            let old = std::mem::replace(&mut self.tstate, new);
            ffi::PyEval_SaveThread();
            gil::attach(new, self.mode.shares_gil());
            end_state(old);
        }
        true
    }

    /// What Python does at its own exit: waits for the threads that aren't daemons.
    fn join_python_threads(&self) {
        let py = self.attached();
        let shutdown = Object::imported(py, "threading")
            .and_then(|threading| threading.getattr_c(py, c"_shutdown"));
        drop(shutdown.and_then(|shutdown| shutdown.call0(py)));
        clear(py);
    }

    /// Whether Python code that others run too keeps pointers to its built-in methods: in CPython
    /// 3.12, where `_datetime` calls one `_strptime` for all and each interpreter has methods of
    /// its own.
    fn has_shared_code(&self) -> bool {
        self.mode == Mode::SubInterpreter && cfg!(all(Py_3_12, not(Py_3_13)))
    }

    /// Whether no other thread has a state in the interpreter, but schedulers, which are not in.
    /// None can make one meanwhile: that takes the GIL, which this thread holds, or the gate, which
    /// is closed, or the context, which isn't lent.
    fn is_last_thread(&self) -> bool {
        let most = 1 + scheduler_states::count(self.number());
        let mut states = 0;
        // SAFETY: the interpreter is alive and its list of states is not being changed.
        unsafe {
            let mut state = ffi::PyInterpreterState_ThreadHead(self.pointer().0);
            while !state.is_null() && states <= most {
                states += 1;
                state = ffi::PyThreadState_Next(state);
            }
        }
        states == most
    }
}

/// Waits for the threads that `atexit` callbacks have started: `threading` itself waits only once.
#[cfg(not(Py_3_12))]
fn join_late_threads(py: Attached<'_>) {
    const SOURCE: &[u8] = b"import sys\n\
        threading = sys.modules.get('threading')\n\
        if threading is not None:\n \
            for thread in threading.enumerate():\n  \
                if thread is not threading.current_thread() and not thread.daemon: thread.join()";
    // If a join raises, that thread is left running, or has ended.
    let _ = library_namespace(py, "py_context_router.interpreter")
        .and_then(|namespace| code::exec(py, SOURCE, "<threads>", &namespace));
}

/// Before 3.12 `Py_EndInterpreter` leaves the GIL held with no thread state.
///
/// # Safety
/// Called right after `Py_EndInterpreter`.
unsafe fn release_leftover_gil() {
    #[cfg(not(Py_3_12))]
    // SAFETY: a state for the main interpreter is swapped in under the GIL that is still held,
    // and deleted, which releases it.
    unsafe {
        let state = ffi::PyThreadState_New(ffi::PyInterpreterState_Main());
        ffi::PyThreadState_Swap(state);
        end_current_state(state);
    }
}

/// How long `atexit` callbacks wait for the threads that Python code has started in the main
/// interpreter.
const MAX_THREADS_WAIT: Duration = Duration::from_secs(4);

/// Ends the threads that Python code has started in the main interpreter, and runs its `atexit`
/// callbacks, once each. They may take as long as they like, so this is for a thread of its own,
/// which has nothing to do with Python.
pub fn run_atexit() {
    if !boot::is_booted() {
        return;
    }
    let (ended, end) = mpsc::channel();
    let end_threads = move || {
        // SAFETY: this thread has nothing to do with Python; attached here.
        unsafe { with_main_attached(|| python_threads::end(Attached::assume())) };
        // The other end may not wait any more.
        let _ = ended.send(());
    };
    // In a thread of its own: what doesn't end keeps the callbacks waiting only for so long.
    if os_thread::spawn("py_threads", end_threads).is_ok() {
        let _ = end.recv_timeout(MAX_THREADS_WAIT);
    }
    let run_last_code = || {
        // SAFETY: attached here.
        let py = unsafe { Attached::assume() };
        run_exit_functions(py);
        python_threads::finish(py);
    };
    // SAFETY: this thread has nothing to do with Python.
    unsafe { with_main_attached(run_last_code) };
}
