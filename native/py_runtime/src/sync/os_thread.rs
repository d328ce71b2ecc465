//! Threads of the operating system, as this library starts them.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};

use parking_lot::Mutex;

/// Stack of a thread that runs Python: what CPython itself gives its main thread on Linux. Python's
/// recursion limit and the conversion depth are sized for it. Reserved, not committed.
pub(super) const PYTHON_STACK: usize = 8 << 20;

/// Starts a thread that runs Python code.
pub fn spawn_python<T: Send + 'static>(
    name: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.into()).stack_size(PYTHON_STACK).spawn(move || {
        let _counted = Counted::enter();
        work()
    })
}

/// Starts a thread that runs no Python code, or only a few lines of ours.
pub fn spawn<T: Send + 'static>(
    name: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.into()).spawn(work)
}

/// How many threads there are that [`spawn_python`] has started.
static PYTHON_THREADS: AtomicUsize = AtomicUsize::new(0);
/// For how many of them the kernel's futex table is large enough.
static FUTEX_TABLE_SERVES: AtomicUsize = AtomicUsize::new(64);

/// A thread that is counted, from its begin to its end.
struct Counted;

impl Counted {
    fn enter() -> Self {
        let threads = PYTHON_THREADS.fetch_add(1, Ordering::Relaxed) + 1;
        if threads > FUTEX_TABLE_SERVES.load(Ordering::Relaxed) {
            enlarge_futex_table(threads);
        }
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        PYTHON_THREADS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Linux from 6.16 on keeps the waiters of a process's futexes in lists whose number depends on the
/// cores (16 lists on two), not on the threads. A wake goes through one list: with thousands of
/// waiting threads that takes longer than a call. Older kernels have no such table, and refuse
/// (`prctl(2)`, PR_FUTEX_HASH). May wait a little, so it runs on the new thread, not on the
/// scheduler that starts it.
#[cfg(target_os = "linux")]
fn enlarge_futex_table(threads: usize) {
    const PR_FUTEX_HASH: libc::c_int = 78;
    const PR_FUTEX_HASH_SET_SLOTS: libc::c_ulong = 1;
    static ENLARGING: Mutex<()> = Mutex::new(());

    let _enlarging = ENLARGING.lock();
    if threads <= FUTEX_TABLE_SERVES.load(Ordering::Relaxed) {
        return;
    }
    let slots = 2 * threads.next_power_of_two();
    FUTEX_TABLE_SERVES.store(slots, Ordering::Relaxed);
    // SAFETY: takes integers only, and changes nothing but how fast the kernel finds waiters.
    unsafe { libc::prctl(PR_FUTEX_HASH, PR_FUTEX_HASH_SET_SLOTS, slots as libc::c_ulong, 0, 0) };
}

#[cfg(not(target_os = "linux"))]
fn enlarge_futex_table(_threads: usize) {}
