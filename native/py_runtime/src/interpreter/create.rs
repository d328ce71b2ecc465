//! Entering an interpreter: the main one, one that was parked, or a new one.
//!
//! A third of this is what CPython before 3.12 or 3.13 needs.

#[cfg(not(Py_3_13))]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use pyo3_ffi as ffi;

use super::mode::Mode;
#[cfg(Py_3_12)]
use super::static_types;
use super::{Interpreter, InterpreterPtr, end_current_state, new_state, parked, reset};
use crate::boot;
#[cfg(not(Py_3_13))]
use crate::cpython::code;
#[cfg(not(Py_3_13))]
use crate::cpython::exception::clear;
#[cfg(not(Py_3_13))]
use crate::cpython::namespace::{library_namespace, modules};
#[cfg(not(Py_3_13))]
use crate::cpython::object::{Attached, Object};
use crate::gil::{self, switch_interval};
#[cfg(not(Py_3_12))]
use crate::sync::os_thread;

impl Interpreter {
    /// Creates the interpreter (or takes the main one, or one that was parked) and attaches this
    /// thread to it.
    pub fn enter(mode: Mode) -> Result<Self, String> {
        mode.check()?;
        if !boot::is_booted() {
            return Err("Python has not been started".into());
        }
        match parked::take(mode) {
            Some(parked) => parked.enter(),
            None => Self::enter_new(mode),
        }
    }

    /// As [`Interpreter::enter`], which has been called before, but not one that was parked.
    pub(crate) fn enter_new(mode: Mode) -> Result<Self, String> {
        let _turn = (mode == Mode::SubInterpreter).then(CreationTurn::wait);
        // SAFETY: Python runs, see above, and is never finalized. The main interpreter is where
        // every thread starts from.
        let main = unsafe { new_main_state(mode) }?;
        // SAFETY: the state is new, for this thread, and not attached.
        unsafe { gil::attach(main, Mode::Worker.shares_gil()) };
        let tstate = match mode {
            Mode::Worker => main,
            // SAFETY: attached with `main`, which isn't used any more.
            Mode::SubInterpreter | Mode::OwnGil => unsafe { create(mode, main) }?,
        };
        let mut new = Interpreter::attached_with(tstate, mode);
        if mode == Mode::OwnGil && switch_interval::set(new.attached()).is_err() {
            return Err("the interval at which threads switch can't be set".into());
        }
        if mode != Mode::Worker && switch_interval::bound(new.attached()).is_err() {
            return Err("the interval at which threads switch can't be bounded".into());
        }
        if mode != Mode::Worker && reset::REUSES_INTERPRETERS {
            new.reset = reset::snapshot(new.attached());
        }
        Ok(new)
    }
}

/// The turn to create an interpreter under the shared GIL: one thread at a time. What CPython
/// imports into each releases the GIL with every file. Each of a hundred threads that did so at
/// once would wait for the GIL thousands of times.
struct CreationTurn {
    _turn: Option<MutexGuard<'static, ()>>,
}

static CREATING: Mutex<()> = Mutex::new(());
static CREATED: AtomicUsize = AtomicUsize::new(0);

impl CreationTurn {
    /// How long to wait for one creation: what an installation imports at start may block.
    const MAX_WAIT: Duration = Duration::from_secs(1);

    /// The thread isn't attached.
    fn wait() -> Self {
        loop {
            let created = CREATED.load(Ordering::Relaxed);
            let turn = CREATING.try_lock_for(Self::MAX_WAIT);
            if turn.is_some() || created == CREATED.load(Ordering::Relaxed) {
                return CreationTurn { _turn: turn };
            }
        }
    }
}

impl Drop for CreationTurn {
    fn drop(&mut self) {
        CREATED.fetch_add(1, Ordering::Relaxed);
    }
}

/// A new state in the main interpreter, for a thread to begin with.
///
/// # Safety
/// Python runs.
#[cfg(Py_3_12)]
unsafe fn new_main_state(_: Mode) -> Result<*mut ffi::PyThreadState, String> {
    // SAFETY: the main interpreter is never ended.
    unsafe { new_state(InterpreterPtr::main()) }
}

/// A new state in the main interpreter, for a thread to begin with. Before 3.12 the first state
/// that a thread makes is the one that `PyGILState_Ensure` finds on it ever after. That has to be
/// its own interpreter's, or C code which calls back would do so in the main one, and wait for a
/// GIL that it has. So another thread makes this one.
///
/// # Safety
/// Python runs.
#[cfg(not(Py_3_12))]
unsafe fn new_main_state(mode: Mode) -> Result<*mut ffi::PyThreadState, String> {
    // SAFETY: the main interpreter is never ended.
    let new = || unsafe { new_state(InterpreterPtr::main()) };
    if mode == Mode::Worker {
        return new();
    }
    let made = os_thread::spawn("py_tstate", move || {
        // As an address, because a pointer stays on its thread.
        new().map(|state| state.expose_provenance())
    });
    let made = made.map_err(|error| format!("no thread to begin with: {error}"))?;
    let address = made.join().map_err(|_| "the thread to begin with panicked".to_owned())??;
    Ok(std::ptr::with_exposed_provenance_mut(address))
}

/// Makes a new interpreter and leaves the thread attached to it, and to it alone.
///
/// # Safety
/// The thread is attached with `main`, which is ended here.
unsafe fn create(
    mode: Mode,
    main: *mut ffi::PyThreadState,
) -> Result<*mut ffi::PyThreadState, String> {
    #[cfg(not(Py_3_13))]
    init_shared_statics();
    // SAFETY: as the caller vouches.
    #[cfg(Py_3_12)]
    unsafe {
        static_types::record();
    }
    // SAFETY: as the caller vouches.
    let created = unsafe { new_interpreter(mode) };
    // The bootstrap state has to go: while two states share one thread id, an asynchronous
    // exception for this thread may be set on the wrong one.
    // SAFETY: the new interpreter's state, or after a failure `main`, is current; `main` is made
    // current to be cleared and deleted, then the new one is attached.
    unsafe {
        match created {
            Ok(tstate) => {
                ffi::PyEval_SaveThread();
                ffi::PyEval_RestoreThread(main);
                end_current_state(main);
                gil::attach(tstate, mode.shares_gil());
                #[cfg(Py_3_12)]
                static_types::correct();
                #[cfg(not(Py_3_13))]
                block_single_interpreter_modules();
                #[cfg(all(Py_3_11, not(Py_3_12)))]
                limit_digits();
                Ok(tstate)
            }
            Err(why) => {
                end_current_state(main);
                Err(why)
            }
        }
    }
}

/// Before 3.13 `datetime` keeps what parses its times in a static, from whichever interpreter
/// needed it first. The main one never ends.
#[cfg(not(Py_3_13))]
fn init_shared_statics() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: the caller is attached to the main interpreter.
    let py = unsafe { Attached::assume() };
    const SOURCE: &[u8] = b"import datetime\ndatetime.datetime.strptime('2000', '%Y')";
    // An installation without `datetime` has nothing to initialise.
    let _ = library_namespace(py, "py_context_router.interpreter")
        .and_then(|namespace| code::exec(py, SOURCE, "<statics>", &namespace));
    DONE.store(true, Ordering::Relaxed);
}

/// Before 3.13 (`_asyncio`: 3.12) these modules in C keep in statics what belongs to one
/// interpreter: classes of the one that imported them first (so that `asyncio.CancelledError` is
/// another class, and a `Decimal` equals no `Fraction`), or objects of the last, which are gone
/// when that ends. Each has a version in Python that is used where it can't be imported.
///
/// # Safety
/// The thread is attached to a new interpreter.
#[cfg(not(Py_3_13))]
unsafe fn block_single_interpreter_modules() {
    // SAFETY: as the caller vouches.
    let py = unsafe { Attached::assume() };
    let asyncio = (!cfg!(Py_3_12)).then_some(c"_asyncio");
    if let Some(modules) = modules(py) {
        for name in [c"_decimal", c"_zoneinfo"].into_iter().chain(asyncio) {
            let _ = modules.set_item(py, name, &Object::none(py));
        }
    }
    clear(py);
}

/// CPython 3.11 makes sub-interpreters without a limit on the digits of integers in text, which
/// guards against conversions that take for ever.
///
/// # Safety
/// The thread is attached to a new interpreter.
#[cfg(all(Py_3_11, not(Py_3_12)))]
unsafe fn limit_digits() {
    const SOURCE: &[u8] = b"import sys\n\
        digits = sys.flags.int_max_str_digits\n\
        if digits < 0: digits = sys.int_info.default_max_str_digits\n\
        sys.set_int_max_str_digits(digits)";
    // SAFETY: as the caller vouches.
    let py = unsafe { Attached::assume() };
    // If that fails, the interpreter stays as CPython has made it.
    let _ = library_namespace(py, "py_context_router.digits")
        .and_then(|namespace| code::exec(py, SOURCE, "<digits>", &namespace));
}

/// # Safety
/// The thread is attached to the main interpreter. On success it is attached to the new one.
#[cfg(Py_3_12)]
unsafe fn new_interpreter(mode: Mode) -> Result<*mut ffi::PyThreadState, String> {
    let own = mode == Mode::OwnGil;
    let config = ffi::PyInterpreterConfig {
        use_main_obmalloc: i32::from(!own),
        // Neither is, but the audit hook refuses both with a better message.
        allow_fork: 1,
        allow_exec: 1,
        allow_threads: 1,
        // A daemon thread would outlive the interpreter, and CPython would crash.
        allow_daemon_threads: 0,
        check_multi_interp_extensions: i32::from(own || cfg!(Py_GIL_DISABLED)),
        gil: if own {
            ffi::PyInterpreterConfig_OWN_GIL
        } else {
            ffi::PyInterpreterConfig_SHARED_GIL
        },
    };
    let mut tstate = std::ptr::null_mut();
    // SAFETY: attached; both pointers are valid for the call.
    let status = unsafe { ffi::Py_NewInterpreterFromConfig(&raw mut tstate, &raw const config) };
    // SAFETY: reads the status by value.
    if unsafe { ffi::PyStatus_Exception(status) } != 0 {
        return Err(boot::status_text(&status));
    }
    Ok(tstate)
}

/// # Safety
/// The thread is attached to the main interpreter. On success it is attached to the new one.
#[cfg(not(Py_3_12))]
unsafe fn new_interpreter(_: Mode) -> Result<*mut ffi::PyThreadState, String> {
    // SAFETY: attached.
    let tstate = unsafe { ffi::Py_NewInterpreter() };
    if tstate.is_null() { Err("Py_NewInterpreter failed".into()) } else { Ok(tstate) }
}
