//! A stack as large as a Python thread's, for code that runs on a thread with a small one.
//!
//! A scheduler of the Erlang VM has a stack for NIFs, some 1 MiB or less. CPython counts levels of
//! recursion for a stack of 8 MiB, and a deep `repr` or `json.dumps` would overflow a smaller one
//! before it raises RecursionError. Each thread that asks gets one mapping, with a page below it
//! that nobody may touch, and keeps it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use super::os_thread::PYTHON_STACK;

/// The guard page. Pages of 4 KiB are the smallest; 64 KiB is a multiple of all common sizes.
const GUARD: usize = 64 << 10;

thread_local! {
    /// The lowest address of this thread's large stack.
    static LOWEST: Cell<*mut u8> = const { Cell::new(null_mut()) };
}

/// The lowest address and the size of this thread's large stack, once it has one.
#[must_use]
pub fn bounds() -> Option<(usize, usize)> {
    let lowest = LOWEST.get();
    (!lowest.is_null()).then(|| (lowest.addr(), PYTHON_STACK))
}

/// Runs `work` on this thread's large stack. A panic ends `work` only: it must not unwind from one
/// stack into the other. `None`: there is no memory for a stack.
pub(crate) fn run<T>(work: impl FnOnce() -> T) -> Option<std::thread::Result<T>> {
    let lowest = ensure()?;
    // SAFETY: the mapping is this thread's alone, is never unmapped, and nothing runs on it: `work`
    // doesn't call this again, because only a scheduler's own code does. No panic leaves it.
    Some(unsafe { psm::on_stack(lowest, PYTHON_STACK, || catch_unwind(AssertUnwindSafe(work))) })
}

/// The lowest address of this thread's large stack, which is made now if it has none.
pub(crate) fn ensure() -> Option<*mut u8> {
    let lowest = LOWEST.get();
    if !lowest.is_null() {
        return Some(lowest);
    }
    LOWEST.set(map()?);
    Some(LOWEST.get())
}

/// A mapping with a guard page below it. Kept as long as the process: schedulers never end.
#[cold]
fn map() -> Option<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | STACK_FLAGS;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, of which the lowest part is made inaccessible.
    unsafe {
        let start = libc::mmap(null_mut(), GUARD + PYTHON_STACK, access, flags, -1, 0);
        if start == libc::MAP_FAILED {
            return None;
        }
        libc::mprotect(start, GUARD, libc::PROT_NONE);
        Some(start.cast::<u8>().add(GUARD))
    }
}

#[cfg(target_os = "linux")]
const STACK_FLAGS: libc::c_int = libc::MAP_STACK | libc::MAP_NORESERVE;
#[cfg(not(target_os = "linux"))]
const STACK_FLAGS: libc::c_int = 0;
