//! Who uses a GIL, or is about to: so that a scheduler never waits for it.
//!
//! A thread of ours counts itself before it asks for the GIL, for as long as it may want it. A
//! direct caller, which runs a job on its scheduler, takes the GIL only while nobody is counted and
//! no other direct caller is in. Then the GIL is free, but for threads that Python code or a
//! library has started: of the first it is known whether there are any, the others take it for a
//! moment.
//!
//! A thread that is counted while a direct caller is in waits inside CPython, until that caller is
//! done: a direct call is short.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pyo3_ffi as ffi;

/// A direct caller is in.
const DIRECT: usize = 1 << (usize::BITS - 1);

/// How long a direct caller waits for another one.
const MAX_WAIT: Duration = Duration::from_micros(2);
/// How often it looks before it asks for the time.
const LOOKS: u32 = 8;

/// The users of one GIL.
#[derive(Debug)]
pub(crate) struct GilUsers {
    /// The threads of ours that use it, and [`DIRECT`].
    users: AtomicUsize,
    /// Whether threads that Python code has started run under it.
    python_threads: AtomicBool,
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
            newest: AtomicPtr::new(null_mut()),
        }
    }

    /// Counts this thread. Before it asks for the GIL; never waits.
    pub(crate) fn enter(&self) -> GilUser<'_> {
        self.users.fetch_add(1, Ordering::SeqCst);
        GilUser(self)
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
        if self.python_threads.load(Ordering::Relaxed) {
            return None;
        }
        match self.try_enter() {
            Ok(_) => Some(DirectUser(self)),
            Err(DIRECT) => self.wait(),
            Err(_) => None,
        }
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

/// The one direct caller that is in.
#[derive(Debug)]
pub(crate) struct DirectUser<'a>(&'a GilUsers);

impl Drop for DirectUser<'_> {
    fn drop(&mut self) {
        self.0.users.fetch_and(!DIRECT, Ordering::SeqCst);
    }
}
