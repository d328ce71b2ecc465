//! Who uses a GIL, or is about to: so that a scheduler never waits for it.
//!
//! A thread of ours counts itself before it asks for the GIL, for as long as it may want it. A
//! direct caller, which runs a job on its scheduler, takes the GIL only while nobody is counted and
//! no other direct caller is in. Then the GIL is free, but for threads that Python code or a
//! library has started: of the first it is known whether there are any, the others take it for a
//! moment.
//!
//! A thread that is counted while a direct caller is in waits inside CPython, until that caller is
//! done. CPython would have that caller release the GIL after a switch interval, and get it back
//! when the other thread is done, which may be long after. A direct call is short, but its
//! scheduler may be scheduled out in the middle. So a context's thread asks for the GIL only when
//! the caller is out, or has been in for so long that the call isn't short
//! ([`GilUsers::enter_after_direct`]).

use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3_ffi as ffi;

use crate::cpython::object::Attached;

/// A direct caller is in.
const DIRECT: usize = 1 << (usize::BITS - 1);

/// How long a direct caller waits for another one.
const MAX_WAIT: Duration = Duration::from_micros(2);
/// How often it looks before it asks for the time.
const LOOKS: u32 = 8;

/// How long a context's thread waits for a direct caller: longer than a busy machine mostly
/// schedules a scheduler out. Where a direct call doesn't return each job of others is that late.
const MAX_WAIT_FOR_DIRECT: Duration = Duration::from_millis(20);
/// How often it looks before it sleeps, and how long.
const LOOKS_FOR_DIRECT: u32 = 1000;
const SLEEP_FOR_DIRECT: Duration = Duration::from_micros(50);

/// The users of one GIL.
#[derive(Debug)]
pub(crate) struct GilUsers {
    /// The threads of ours that use it, and [`DIRECT`].
    users: AtomicUsize,
    /// Whether threads that Python code has started run under it.
    python_threads: AtomicBool,
    /// How many contexts have an interpreter of their own that shares it, with such threads in it.
    contexts_with_threads: AtomicUsize,
    /// The newest thread state of the interpreter when that was last checked. Only compared.
    newest: AtomicPtr<ffi::PyThreadState>,
}

/// The users of the GIL that the main interpreter shares with others.
pub(crate) static SHARED: GilUsers = GilUsers::new();

impl GilUsers {
    pub(crate) const fn new() -> Self {
        GilUsers {
            users: AtomicUsize::new(0),
            python_threads: AtomicBool::new(false),
            contexts_with_threads: AtomicUsize::new(0),
            newest: AtomicPtr::new(null_mut()),
        }
    }

    /// Counts this thread. Before it asks for the GIL; never waits.
    pub(crate) fn enter(&self) -> GilUser<'_> {
        self.users.fetch_add(1, Ordering::SeqCst);
        GilUser(self)
    }

    /// Counts this thread, and waits until the direct caller that is in is out, but not for ever.
    pub(crate) fn enter_after_direct(&self) -> GilUser<'_> {
        let user = self.enter();
        if self.is_direct_in() {
            self.wait_for_direct();
        }
        user
    }

    #[cold]
    fn wait_for_direct(&self) {
        for _ in 0..LOOKS_FOR_DIRECT {
            std::hint::spin_loop();
            if !self.is_direct_in() {
                return;
            }
        }
        let start = Instant::now();
        while self.is_direct_in() && start.elapsed() < MAX_WAIT_FOR_DIRECT {
            std::thread::sleep(SLEEP_FOR_DIRECT);
        }
    }

    fn is_direct_in(&self) -> bool {
        self.users.load(Ordering::SeqCst) & DIRECT != 0
    }

    fn python_threads_run(&self) -> bool {
        self.python_threads.load(Ordering::Relaxed)
            || self.contexts_with_threads.load(Ordering::Relaxed) != 0
    }

    /// Notes whether threads of Python code run, as of the time when `newest` was the newest state.
    pub(crate) fn note_python_threads(&self, any: bool, newest: *mut ffi::PyThreadState) {
        self.newest.store(newest, Ordering::Relaxed);
        self.python_threads.store(any, Ordering::Relaxed);
    }

    /// The newest state, when that was last noted.
    pub(crate) fn newest(&self) -> *mut ffi::PyThreadState {
        self.newest.load(Ordering::Relaxed)
    }

    /// Enters as the one direct caller, if the GIL is free. Waits for another direct caller, for a
    /// moment.
    pub(crate) fn try_enter_direct(&self) -> Option<DirectUser<'_>> {
        if self.python_threads_run() {
            return None;
        }
        let entered = match self.try_enter() {
            Ok(_) => Some(DirectUser(self)),
            Err(DIRECT) => self.wait(),
            Err(_) => None,
        };
        // Once more: a thread that was counted until just now may have noted some.
        entered.filter(|_| !self.python_threads_run())
    }

    fn try_enter(&self) -> Result<usize, usize> {
        self.users.compare_exchange(0, DIRECT, Ordering::SeqCst, Ordering::Relaxed)
    }

    #[cold]
    fn wait(&self) -> Option<DirectUser<'_>> {
        let start = Instant::now();
        loop {
            for _ in 0..LOOKS {
                match self.try_enter() {
                    Ok(_) => return Some(DirectUser(self)),
                    Err(DIRECT) => std::hint::spin_loop(),
                    Err(_) => return None,
                }
            }
            if start.elapsed() > MAX_WAIT {
                return None;
            }
        }
    }
}

/// A thread that is counted.
#[derive(Debug)]
pub(crate) struct GilUser<'a>(&'a GilUsers);

impl Drop for GilUser<'_> {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The interpreters that share the main one's GIL and have threads that Python code has started.
static WITH_THREADS: Mutex<Vec<SharingInterpreter>> = Mutex::new(Vec::new());

/// An interpreter that shares the main one's GIL, and the state of its context's thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SharingInterpreter(*mut ffi::PyInterpreterState, *mut ffi::PyThreadState);

// SAFETY: plain addresses, whose users say why what they point to is alive.
unsafe impl Send for SharingInterpreter {}

impl SharingInterpreter {
    /// Whether it has other threads than its context's.
    ///
    /// # Safety
    /// Both are alive. The thread has the shared GIL, under which states come and go.
    unsafe fn has_other_threads(self) -> bool {
        let SharingInterpreter(interpreter, own) = self;
        // SAFETY: as the caller vouches.
        unsafe {
            let first = ffi::PyInterpreterState_ThreadHead(interpreter);
            first != own || !ffi::PyThreadState_Next(first).is_null()
        }
    }
}

/// What a context notes about the threads in its own interpreter, which shares the GIL. Dropped
/// attached to that.
#[derive(Debug)]
pub(crate) struct OwnThreads {
    interpreter: SharingInterpreter,
    noted: Cell<bool>,
}

impl OwnThreads {
    /// Of the interpreter that this thread is attached to with `state`.
    pub(crate) fn new(py: Attached<'_>, state: *mut ffi::PyThreadState) -> Self {
        let interpreter = SharingInterpreter(py.interpreter(), state);
        OwnThreads { interpreter, noted: Cell::new(false) }
    }

    /// Notes whether there are any. By the context's thread, which is counted.
    pub(crate) fn note(&self, _: Attached<'_>) {
        // SAFETY: attached, so that both are alive.
        let any = unsafe { self.interpreter.has_other_threads() };
        if any || self.noted.get() {
            self.set(any);
        }
    }

    #[cold]
    fn set(&self, any: bool) {
        let mut with_threads = WITH_THREADS.lock();
        with_threads.retain(|known| *known != self.interpreter);
        with_threads.extend(any.then_some(self.interpreter));
        SHARED.contexts_with_threads.store(with_threads.len(), Ordering::Relaxed);
        self.noted.set(any);
    }
}

impl Drop for OwnThreads {
    fn drop(&mut self) {
        if self.noted.get() {
            self.set(false);
        }
    }
}

/// Threads may have ended without their context's doing. By a thread that has the shared GIL.
pub(crate) fn forget_ended_threads(_: Attached<'_>) {
    if SHARED.contexts_with_threads.load(Ordering::Relaxed) != 0 {
        let mut with_threads = WITH_THREADS.lock();
        // SAFETY: a context's thread removes them here, under the GIL, before they end.
        with_threads.retain(|known| unsafe { known.has_other_threads() });
        SHARED.contexts_with_threads.store(with_threads.len(), Ordering::Relaxed);
    }
}

/// The one direct caller that is in.
#[derive(Debug)]
pub(crate) struct DirectUser<'a>(&'a GilUsers);

impl Drop for DirectUser<'_> {
    fn drop(&mut self) {
        self.0.users.fetch_and(!DIRECT, Ordering::SeqCst);
    }
}
