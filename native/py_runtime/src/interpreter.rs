//! A context's interpreter, as one value: it exists from `enter` until it is dropped.
//!
//! The thread that enters it uses it and ends it; nobody else. Attaching and detaching goes
//! through here, so that the GIL policy sees every turn.

use std::cell::Cell;
#[cfg(not(Py_3_13))]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use pyo3_ffi as ffi;

use crate::boot;
#[cfg(not(Py_3_13))]
use crate::code;
use crate::escape::Escaped;
use crate::gil;
use crate::mode::Mode;
#[cfg(not(Py_3_13))]
use crate::namespace::library_namespace;
use crate::object::{Attached, Object};
use crate::os_thread;
use crate::spare;
use crate::switch_interval;
use crate::threads;

/// The interpreter of the current thread, with the thread's own state in it.
///
/// The state is kept for the thread's life: `threading.local`, numpy and torch keep theirs in it.
/// `enter` returns attached; drop must happen attached, after every object has been let go.
#[derive(Debug)]
pub struct Interpreter {
    mode: Mode,
    tstate: *mut ffi::PyThreadState,
    attached_since: Cell<Instant>,
    /// How often this thread has let in those who aren't counted as waiting.
    let_in: Cell<u32>,
    /// Makes the interpreter as new for the next context, where interpreters are kept.
    reset: Option<Object>,
    /// Another context has had it before.
    is_used: bool,
}

/// The interpreter as seen by a thread that wants to strike a blow in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InterpreterPtr(*mut ffi::PyInterpreterState);

// SAFETY: the pointer is used only under the context's gate, which the owner closes before it
// ends the interpreter.
unsafe impl Send for InterpreterPtr {}

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
    /// Creates the interpreter (or joins the main one, or takes one that was set aside) and
    /// attaches this thread to it.
    pub fn enter(mode: Mode) -> Result<Self, String> {
        mode.check()?;
        if !boot::is_booted() {
            return Err("Python has not been started".into());
        }
        match spare::take(mode) {
            Some(spare) => spare.enter(),
            None => Self::enter_new(mode),
        }
    }

    /// As [`Interpreter::enter`], which has been called before, but not one that was set aside.
    pub(crate) fn enter_new(mode: Mode) -> Result<Self, String> {
        let _turn = (mode == Mode::SubInterpreter).then(Creation::take_turn);
        // SAFETY: Python runs, see above, and is never finalized. The main interpreter is where every thread
        // starts from.
        let main = unsafe { new_main_state(mode) }?;
        // SAFETY: the state is new, for this thread, and not attached.
        unsafe { gil::attach(main, Mode::Worker.shares_gil()) };
        let tstate = match mode {
            Mode::Worker => main,
            // SAFETY: attached with `main`, which is given up.
            Mode::SubInterpreter | Mode::OwnGil => unsafe { create(mode, main) }?,
        };
        let mut new = Interpreter::attached_with(tstate, mode);
        if mode == Mode::OwnGil && switch_interval::set(new.attached()).is_err() {
            return Err("the interval at which threads switch can't be set".into());
        }
        if mode != Mode::Worker && switch_interval::bound(new.attached()).is_err() {
            return Err("the interval at which threads switch can't be bounded".into());
        }
        if mode != Mode::Worker && spare::KEPT {
            new.reset = spare::note(new.attached());
        }
        Ok(new)
    }

    fn attached_with(tstate: *mut ffi::PyThreadState, mode: Mode) -> Self {
        let (attached_since, let_in) = (Cell::new(Instant::now()), Cell::new(0));
        Interpreter { mode, tstate, attached_since, let_in, reset: None, is_used: false }
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

    /// Hands the GIL on if another thread has waited for it long enough.
    pub(crate) fn take_turns(&self) {
        let held = self.attached_since.get().elapsed();
        if self.mode.shares_gil() && gil::is_turn_over(held) {
            // SAFETY: attached, with our own state.
            unsafe { gil::hand_over(self.tstate) };
            self.attached_since.set(Instant::now());
        } else if gil::is_turn_of_others(held) {
            let times = self.let_in.get();
            self.let_in.set(times.wrapping_add(1));
            // SAFETY: as above.
            unsafe { gil::let_others_in(self.tstate, self.mode.shares_gil(), times) };
            self.attached_since.set(Instant::now());
        }
    }

    /// Whether another context has had it before, and may have left something in it.
    pub(crate) fn is_used(&self) -> bool {
        self.is_used
    }

    /// The pointer for [`visit`].
    pub(crate) fn pointer(&self) -> InterpreterPtr {
        // SAFETY: the state is alive.
        InterpreterPtr(unsafe { ffi::PyThreadState_GetInterpreter(self.tstate) })
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

/// The thread is detached as long as this lives. A panic must not leave it so: the code that contains
/// the panic takes the thread for attached.
struct Detached<'a>(&'a Interpreter);

impl<'a> Detached<'a> {
    fn new(interpreter: &'a Interpreter) -> Self {
        // SAFETY: attached, see the type's invariant, on the owning thread (the type is not `Send`).
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

impl Drop for Interpreter {
    fn drop(&mut self) {
        match self.mode {
            // SAFETY: attached with `tstate`; clearing it runs destructors, deleting it detaches.
            Mode::Worker => unsafe {
                ffi::PyThreadState_Clear(self.tstate);
                ffi::PyThreadState_DeleteCurrent();
            },
            Mode::SubInterpreter | Mode::OwnGil => self.end_interpreter(),
        }
    }
}

impl Interpreter {
    /// Ends the interpreter, unless threads that Python code started still run in it: CPython
    /// aborts the process then ("not the last thread"). Such an interpreter is left behind.
    fn end_interpreter(&mut self) {
        self.join_python_threads();
        if self.is_as_new() {
            match self.leave() {
                Ok(vacant) => spare::put(vacant),
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

    /// Runs what CPython runs only when it has put its own standard streams back, which are the VM's: exit
    /// functions, and the finalizers of what is garbage by now. And before 3.12 an `atexit` callback may
    /// start a thread, and CPython looks for threads only after it has run them.
    fn run_last_code(&self) {
        let at = self.attached();
        run_exit_functions(at);
        #[cfg(Py_3_12)]
        self.join_python_threads();
        #[cfg(not(Py_3_12))]
        join_late_threads(at);
        // SAFETY: attached. It does nothing while the collector is switched off.
        unsafe {
            ffi::PyGC_Enable();
            ffi::PyGC_Collect();
        }
    }

    /// As dropping it, but an interpreter that is as new again is given back instead of being set aside
    /// for the next context.
    pub(crate) fn reclaim(self) -> Option<Vacant> {
        let mut this = std::mem::ManuallyDrop::new(self);
        this.join_python_threads();
        if this.is_as_new() {
            return this.leave().ok();
        }
        // Threads are joined again, of which there are none, and it isn't reset again.
        this.reset = None;
        drop(std::mem::ManuallyDrop::into_inner(this));
        None
    }

    /// Leaves the interpreter to whoever gets it next; this thread is detached. `None`: it is lost.
    pub(crate) fn vacate(self) -> Option<Vacant> {
        let mut this = std::mem::ManuallyDrop::new(self);
        this.join_python_threads();
        this.leave().ok()
    }

    /// Detaches for good and leaves only a state that keeps the interpreter.
    fn leave(&mut self) -> Result<Vacant, String> {
        let reset = self.reset.take().map(Escaped::new);
        // SAFETY: the interpreter is alive. The thread is attached with its own state, which goes.
        unsafe {
            let keeper = new_state(self.pointer());
            ffi::PyThreadState_Clear(self.tstate);
            ffi::PyThreadState_DeleteCurrent();
            Ok(Vacant { mode: self.mode, keeper: keeper?, reset })
        }
    }

    /// Makes the interpreter as new, if it is to be kept. `false`: it isn't, or can't be.
    fn is_as_new(&mut self) -> bool {
        // Resetting runs Python code, so threads are looked for before and after.
        if self.reset.is_none() || !self.is_last_thread() || !self.renew_state() {
            return false;
        }
        self.reset
            .as_ref()
            .is_some_and(|reset| spare::reset(self.attached(), reset) && self.is_last_thread())
    }

    /// Gives the thread another state. With the old one goes what it holds, such as the values of context
    /// variables, whose finalizers may change what a reset is to put back. `false`: no memory for one.
    fn renew_state(&mut self) -> bool {
        // SAFETY: the interpreter is alive, and the thread attached with its own state, which is cleared
        // when it is not attached any more. Nobody else has a pointer to it: the gate is closed.
        unsafe {
            let Ok(new) = new_state(self.pointer()) else { return false };
            let old = std::mem::replace(&mut self.tstate, new);
            ffi::PyEval_SaveThread();
            gil::attach(new, self.mode.shares_gil());
            ffi::PyThreadState_Clear(old);
            ffi::PyThreadState_Delete(old);
        }
        true
    }

    /// What Python does at its own exit: waits for the threads that aren't daemons.
    fn join_python_threads(&self) {
        let at = self.attached();
        // SAFETY: attached; the name is an owned `str`, and only what is imported is looked at.
        unsafe {
            let joined = Object::text(at, "threading")
                .and_then(|name| Object::from_owned(at, ffi::PyImport_GetModule(name.as_ptr())))
                .and_then(|threading| threading.getattr_c(at, c"_shutdown"))
                .and_then(|shutdown| {
                    Object::from_owned(at, ffi::PyObject_CallNoArgs(shutdown.as_ptr()))
                });
            drop(joined);
            ffi::PyErr_Clear();
        }
    }

    /// Whether Python code that others run too keeps pointers to its built-in methods: in CPython 3.12,
    /// where `_datetime` calls one `_strptime` for all and each interpreter has methods of its own.
    fn has_shared_code(&self) -> bool {
        self.mode == Mode::SubInterpreter && cfg!(all(Py_3_12, not(Py_3_13)))
    }

    /// Whether no other thread has a state in the interpreter. Nobody can come in meanwhile: that
    /// takes the GIL, which this thread holds, or the gate, which is closed.
    fn is_last_thread(&self) -> bool {
        // SAFETY: the interpreter is alive and its list of states is not being changed.
        unsafe {
            let first = ffi::PyInterpreterState_ThreadHead(self.pointer().0);
            first == self.tstate && ffi::PyThreadState_Next(first).is_null()
        }
    }
}

/// The turn to create an interpreter under the shared GIL. What CPython imports into each lets go of the GIL
/// with every file: of a hundred threads that do so side by side each waits for the GIL thousands of times.
struct Creation {
    _turn: Option<MutexGuard<'static, ()>>,
}

static CREATING: Mutex<()> = Mutex::new(());
static CREATED: AtomicUsize = AtomicUsize::new(0);

impl Creation {
    /// How long to wait for one creation: what an installation imports at start may block.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// The thread isn't attached.
    fn take_turn() -> Self {
        loop {
            let created = CREATED.load(Ordering::Relaxed);
            let turn = CREATING.try_lock_for(Self::PATIENCE);
            if turn.is_some() || created == CREATED.load(Ordering::Relaxed) {
                return Creation { _turn: turn };
            }
        }
    }
}

impl Drop for Creation {
    fn drop(&mut self) {
        CREATED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits for the threads that `atexit` callbacks have started: `threading` itself waits only once.
#[cfg(not(Py_3_12))]
fn join_late_threads(at: Attached<'_>) {
    const SOURCE: &[u8] = b"import sys\n\
        threading = sys.modules.get('threading')\n\
        if threading is not None:\n \
            for thread in threading.enumerate():\n  \
                if thread is not threading.current_thread() and not thread.daemon: thread.join()";
    // Who raises here is left behind as a thread, or has ended.
    let _ = library_namespace(at, "py_context_router.interpreter")
        .and_then(|namespace| code::exec(at, SOURCE, "<threads>", &namespace));
}

/// A new state, made by this thread.
///
/// # Safety
/// The interpreter is alive.
unsafe fn new_state(interpreter: InterpreterPtr) -> Result<*mut ffi::PyThreadState, String> {
    // SAFETY: as the caller says.
    let state = unsafe { ffi::PyThreadState_New(interpreter.0) };
    if state.is_null() { Err("no memory for a thread state".into()) } else { Ok(state) }
}

/// A new state in the main interpreter, for a thread to begin with.
///
/// # Safety
/// Python runs.
#[cfg(Py_3_12)]
unsafe fn new_main_state(_: Mode) -> Result<*mut ffi::PyThreadState, String> {
    // SAFETY: the main interpreter is never ended.
    unsafe { new_state(InterpreterPtr(ffi::PyInterpreterState_Main())) }
}

/// A new state in the main interpreter, for a thread to begin with. Before 3.12 the first state that a
/// thread makes is the one that `PyGILState_Ensure` finds on it ever after. That has to be its own
/// interpreter's, or C code which calls back would do so in the main one, and wait for a GIL that it
/// has. So another thread makes this one.
///
/// # Safety
/// Python runs.
#[cfg(not(Py_3_12))]
unsafe fn new_main_state(mode: Mode) -> Result<*mut ffi::PyThreadState, String> {
    // SAFETY: the main interpreter is never ended.
    let new = || unsafe { new_state(InterpreterPtr(ffi::PyInterpreterState_Main())) };
    if mode == Mode::Worker {
        return new();
    }
    let made = os_thread::spawn("py_begin", move || {
        // As an address, because a pointer stays on its thread.
        new().map(|state| state.expose_provenance())
    });
    let made = made.map_err(|error| format!("no thread to begin with: {error}"))?;
    let address = made.join().map_err(|_| "the thread to begin with panicked".to_owned())??;
    Ok(std::ptr::with_exposed_provenance_mut(address))
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
        ffi::PyThreadState_Clear(state);
        ffi::PyThreadState_DeleteCurrent();
    }
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
    settle_statics();
    // SAFETY: passed on.
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
                ffi::PyThreadState_Clear(main);
                ffi::PyThreadState_DeleteCurrent();
                gil::attach(tstate, mode.shares_gil());
                #[cfg(not(Py_3_13))]
                hide_modules_of_one();
                #[cfg(all(Py_3_11, not(Py_3_12)))]
                limit_digits();
                Ok(tstate)
            }
            Err(why) => {
                ffi::PyThreadState_Clear(main);
                ffi::PyThreadState_DeleteCurrent();
                Err(why)
            }
        }
    }
}

/// Before 3.13 `datetime` keeps what parses its times in a static, from whichever interpreter needed it
/// first. The main one never ends.
#[cfg(not(Py_3_13))]
fn settle_statics() {
    static SETTLED: AtomicBool = AtomicBool::new(false);
    if SETTLED.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: the caller is attached to the main interpreter.
    let at = unsafe { Attached::assume() };
    const SOURCE: &[u8] = b"import datetime\ndatetime.datetime.strptime('2000', '%Y')";
    // An installation without `datetime` has nothing to settle.
    let _ = library_namespace(at, "py_context_router.interpreter")
        .and_then(|namespace| code::exec(at, SOURCE, "<statics>", &namespace));
    SETTLED.store(true, Ordering::Relaxed);
}

/// Before 3.13 (`_asyncio`: 3.12) these modules in C keep in statics what belongs to one interpreter: classes
/// of the one that imported them first (so that `asyncio.CancelledError` is another class, and a `Decimal`
/// equals no `Fraction`), or objects of the last, which are gone when that ends. Each has a twin in Python
/// that is taken where it can't be imported.
///
/// # Safety
/// The thread is attached to a new interpreter.
#[cfg(not(Py_3_13))]
unsafe fn hide_modules_of_one() {
    // SAFETY: attached; `sys.modules` is a dictionary, and takes a reference.
    unsafe {
        let modules = ffi::PyImport_GetModuleDict();
        let asyncio = (!cfg!(Py_3_12)).then_some(c"_asyncio");
        for name in [c"_decimal", c"_zoneinfo"].into_iter().chain(asyncio) {
            ffi::PyDict_SetItemString(modules, name.as_ptr(), ffi::Py_None());
        }
        ffi::PyErr_Clear();
    }
}

/// CPython 3.11 makes sub-interpreters without a limit on the digits of integers in text, which guards
/// against conversions that take for ever.
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
    let at = unsafe { Attached::assume() };
    // Should it fail the interpreter is what CPython has made.
    let _ = library_namespace(at, "py_context_router.digits")
        .and_then(|namespace| code::exec(at, SOURCE, "<digits>", &namespace));
}

/// # Safety
/// The thread is attached to the main interpreter. On success it is attached to the new one.
#[cfg(Py_3_12)]
unsafe fn new_interpreter(mode: Mode) -> Result<*mut ffi::PyThreadState, String> {
    let own = mode == Mode::OwnGil;
    let config = ffi::PyInterpreterConfig {
        use_main_obmalloc: i32::from(!own),
        // Neither is, but `guard` says so with more words.
        allow_fork: 1,
        allow_exec: 1,
        allow_threads: 1,
        // A daemon thread would outlive the interpreter, which CPython can't bear.
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
        return Err(crate::boot::status_text(&status));
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

/// Runs the `atexit` callbacks of the interpreter that the thread is attached to, once each. What they
/// raise CPython reports itself.
pub(crate) fn run_exit_functions(at: Attached<'_>) {
    // SAFETY: attached; the name is a C string.
    let done = unsafe {
        Object::from_owned(at, ffi::PyImport_ImportModule(c"atexit".as_ptr()))
            .and_then(|atexit| atexit.getattr_c(at, c"_run_exitfuncs"))
            .and_then(|run| Object::from_owned(at, ffi::PyObject_CallNoArgs(run.as_ptr())))
    };
    drop(done);
    crate::exception::clear(at);
}

/// How long `atexit` callbacks wait for the threads that Python code has started in the main interpreter.
const THREADS_PATIENCE: Duration = Duration::from_secs(4);

/// Ends the threads that Python code has started in the main interpreter, and runs its `atexit` callbacks,
/// once each. They may take as long as they like, so this is for a thread of its own; one that has nothing to
/// do with Python.
pub fn run_atexit() {
    if !boot::is_booted() {
        return;
    }
    let (ended, end) = mpsc::channel();
    let end_threads = move || {
        // SAFETY: this thread has nothing to do with Python; attached by the visit.
        unsafe { visit_main(|| threads::end(Attached::assume())) };
        // Nobody may wait any more.
        let _ = ended.send(());
    };
    // In a thread of its own: what doesn't end keeps the callbacks waiting only for so long.
    if os_thread::spawn("py_threads", end_threads).is_ok() {
        let _ = end.recv_timeout(THREADS_PATIENCE);
    }
    let run_last_code = || {
        // SAFETY: attached by the visit.
        let at = unsafe { Attached::assume() };
        run_exit_functions(at);
        threads::finish(at);
    };
    // SAFETY: says the caller.
    unsafe { visit_main(run_last_code) };
}

/// Runs `f` attached to the main interpreter, from a thread that has nothing to do with it.
///
/// # Safety
/// The current thread is not attached to any interpreter.
pub(crate) unsafe fn visit_main(f: impl FnOnce()) {
    // SAFETY: Python runs and is never finalized.
    unsafe { visit(InterpreterPtr(ffi::PyInterpreterState_Main()), f) };
}

/// Runs `f` attached to `interpreter`, from a thread that has nothing to do with it.
///
/// # Safety
/// The interpreter is not ended meanwhile, and the current thread is not attached to any.
pub(crate) unsafe fn visit(interpreter: InterpreterPtr, f: impl FnOnce()) {
    // SAFETY: the caller keeps the interpreter alive; the state is made, used and ended here.
    unsafe {
        let state = ffi::PyThreadState_New(interpreter.0);
        if state.is_null() {
            return;
        }
        ffi::PyEval_RestoreThread(state);
        f();
        ffi::PyThreadState_Clear(state);
        ffi::PyThreadState_DeleteCurrent();
    }
}
