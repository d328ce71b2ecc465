//! Which thread holds the shared GIL, and when it hands it on.
//!
//! Holds the policy, the fair handoff, and what CPython needs for it. Uses `cpython`, `sync` and
//! `alloc`. Never runs users' Python code, and knows neither interpreters nor contexts.
//!
//! Contexts in worker and subinterp mode share one GIL. A thread that releases it and asks again at
//! once nearly always gets it back before the thread it woke has even started to run, so "release
//! and retake" starves the others for tens of milliseconds. And a thread that calls C functions one
//! after another never reaches the point where CPython itself would make it yield. So contexts that
//! wait are counted, and the GIL is handed off to them, see [`Handoff`].
//!
//! Threads that wait inside CPython are not counted: those that Python code started, those that
//! come back from a blocking call, those that deliver interrupts. They ask CPython for the GIL,
//! which asks the holder in the eval breaker, which C functions one after another never reach. So a
//! thread detaches for a moment now and then; if another thread has asked, CPython itself waits
//! until that one has it.

pub(crate) mod drop_request;
pub mod handoff;
pub(crate) mod switch_interval;
pub(crate) mod users;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pyo3_ffi as ffi;

use crate::sync::wakeup;
use handoff::Handoff;

/// How long a thread may run job after job while another waits.
const TIME_SLICE: Duration = Duration::from_micros(200);
/// How long a thread waits for another to take the GIL that it hands off. A busy machine may have
/// scheduled that thread out; then it is not worth standing still.
const MAX_HANDOFF: Duration = Duration::from_millis(2);

/// How long a thread may run job after job while no context waits. So much longer than the switch
/// interval that a thread which waits inside CPython has asked by then, although each release of
/// the GIL starts its interval anew: otherwise it would never get the GIL.
const YIELD_AFTER: Duration = Duration::from_millis(1);

/// How long it then stays detached where CPython can't know whether a thread has asked.
const YIELD_SLEEP: Duration = Duration::from_micros(50);

/// Every so many times it stays detached that long in any case: Python code may have set a longer
/// switch interval, and then no thread ever asks.
const FORCED_YIELD_EVERY: u32 = 16;

#[cfg(not(feature = "loom"))]
static HANDOFF: Handoff = Handoff::new();
// loom's types can't be made at compile time. No model gets here.
#[cfg(feature = "loom")]
static HANDOFF: std::sync::LazyLock<Handoff> = std::sync::LazyLock::new(Handoff::new);

static DROP_REQUESTS: AtomicBool = AtomicBool::new(false);

/// Whether the holder of the shared GIL may not see that others wait for it, see [`drop_request`].
pub(crate) fn needs_drop_requests() -> bool {
    cfg!(not(Py_3_13)) && DROP_REQUESTS.load(Ordering::Relaxed)
}

/// From now on there are interpreters that share the main one's GIL.
pub(crate) fn enable_drop_requests() {
    DROP_REQUESTS.store(true, Ordering::Relaxed);
}

/// Attaches the thread, waiting for the GIL if another holds it.
///
/// # Safety
/// `tstate` belongs to the current thread, which is not attached.
pub(crate) unsafe fn attach(tstate: *mut ffi::PyThreadState, shared: bool) {
    // SAFETY: passed on to the caller.
    let get = || unsafe { ffi::PyEval_RestoreThread(tstate) };
    if shared {
        HANDOFF.acquire(|| {
            // Counted as waiting by now.
            if needs_drop_requests() {
                wakeup::notify_wait();
            }
            get();
        });
    } else {
        get();
    }
}

/// Changes with each context that gets the GIL after it has waited for it.
pub(crate) fn handoffs() -> usize {
    HANDOFF.generation()
}

/// Whether a context waits.
pub(crate) fn has_waiters() -> bool {
    HANDOFF.has_waiters()
}

/// Whether a thread that has been attached for so long should hand off to another context now.
pub(crate) fn must_hand_off(attached: Duration) -> bool {
    attached > TIME_SLICE && HANDOFF.has_waiters()
}

/// Whether a thread that has been attached for so long should yield to threads that are not
/// counted.
pub(crate) fn must_yield(attached: Duration) -> bool {
    attached > YIELD_AFTER
}

/// Detaches and attaches again, so that a thread which is not counted gets the GIL. `times` is how
/// often this thread has done so before.
///
/// # Safety
/// The current thread is attached with `tstate`.
pub(crate) unsafe fn yield_gil(tstate: *mut ffi::PyThreadState, shared: bool, times: u32) {
    // SAFETY: the caller vouches that this thread is attached.
    unsafe { ffi::PyEval_SaveThread() };
    let cant_know = shared && needs_drop_requests();
    if cant_know || times % FORCED_YIELD_EVERY == FORCED_YIELD_EVERY - 1 {
        // CPython doesn't wait until another thread has it: give it the time.
        std::thread::sleep(YIELD_SLEEP);
    }
    // SAFETY: detached above, on this thread.
    unsafe { attach(tstate, shared) };
}

/// Detaches, waits until a waiting context has had the GIL, and attaches again.
///
/// # Safety
/// The current thread is attached with `tstate`.
pub(crate) unsafe fn hand_off(tstate: *mut ffi::PyThreadState) {
    let start = Instant::now();
    let release = || {
        // SAFETY: the caller vouches that this thread is attached.
        unsafe { ffi::PyEval_SaveThread() };
    };
    // SAFETY: detached by then, on this thread.
    let get = || unsafe { ffi::PyEval_RestoreThread(tstate) };
    HANDOFF.hand_off(release, || start.elapsed() < MAX_HANDOFF, get);
}
