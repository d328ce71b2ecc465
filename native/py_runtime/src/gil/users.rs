//! Who uses the shared GIL, or is about to: so that a scheduler never waits for it.
//!
//! A thread of ours counts itself before it asks for the GIL, for as long as it may want it. A
//! direct caller, which runs a job on its scheduler, takes the GIL only while nobody is counted and
//! no other direct caller is in. Then the GIL is free, but for threads that Python code or a
//! library has started: the first are watched by [`note_python_threads`], the others take it for a
//! moment.
//!
//! A thread that is counted while a direct caller is in waits inside CPython, until that caller is
//! done: a direct call is short.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A direct caller is in.
const DIRECT: usize = 1 << (usize::BITS - 1);

/// How long a direct caller waits for another one.
const MAX_WAIT: Duration = Duration::from_micros(2);
/// How often it looks before it asks for the time.
const LOOKS: u32 = 8;

/// The threads of ours that use the shared GIL, and [`DIRECT`].
static USERS: AtomicUsize = AtomicUsize::new(0);

/// Whether threads that Python code has started run in the main interpreter.
static PYTHON_THREADS: AtomicBool = AtomicBool::new(false);

/// A thread that is counted.
#[derive(Debug)]
pub(crate) struct GilUser(());

impl GilUser {
    /// Counts this thread. Before it asks for the GIL; never waits.
    pub(crate) fn enter() -> Self {
        USERS.fetch_add(1, Ordering::SeqCst);
        GilUser(())
    }
}

impl Drop for GilUser {
    fn drop(&mut self) {
        USERS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Notes whether threads that Python code has started run in the main interpreter.
pub(crate) fn note_python_threads(any: bool) {
    PYTHON_THREADS.store(any, Ordering::Relaxed);
}

/// The one direct caller that is in.
#[derive(Debug)]
pub(crate) struct DirectUser(());

impl DirectUser {
    /// Enters, if the GIL is free. Waits for another direct caller, for a moment.
    pub(crate) fn try_enter() -> Option<Self> {
        if PYTHON_THREADS.load(Ordering::Relaxed) {
            return None;
        }
        let enter = || USERS.compare_exchange(0, DIRECT, Ordering::SeqCst, Ordering::Relaxed);
        match enter() {
            Ok(_) => Some(DirectUser(())),
            Err(DIRECT) => Self::wait(enter),
            Err(_) => None,
        }
    }

    #[cold]
    fn wait(enter: impl Fn() -> Result<usize, usize>) -> Option<Self> {
        let start = Instant::now();
        loop {
            for _ in 0..LOOKS {
                match enter() {
                    Ok(_) => return Some(DirectUser(())),
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

impl Drop for DirectUser {
    fn drop(&mut self) {
        USERS.fetch_and(!DIRECT, Ordering::SeqCst);
    }
}
