//! Who holds the shared GIL, and when it is handed on.
//!
//! Holds the policy, the fair handoff, and what CPython needs for it. Uses `cpython`, `sync` and `alloc`.
//! Never runs anybody's Python code, and knows neither interpreters nor contexts.
//!
//! Contexts in worker and subinterp mode take turns on one GIL. A thread that lets go and at once
//! asks again nearly always gets it back before the thread it woke has even started to run, so
//! "release and retake" starves the others for tens of milliseconds. And a thread that calls C
//! functions one after another never reaches the point where CPython itself would make it yield.
//! So the contexts keep score, see [`Turns`].
//!
//! Threads that wait inside CPython are not counted: those that Python code started, those that
//! come back from a blocking call, those that strike. They ask CPython for the GIL, which asks its
//! holder in the eval breaker, which C functions one after another never reach. So a thread lets go
//! for a moment now and then; if somebody has asked, CPython itself waits until that one has it.

pub(crate) mod drop_request;
pub mod handoff;
pub(crate) mod switch_interval;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pyo3_ffi as ffi;

use crate::sync::wakeup;
use handoff::Turns;

/// How long a thread may run job after job while another waits.
const BUDGET: Duration = Duration::from_micros(200);
/// How long a thread stays away at most while it hands over. The one it waits for may have been
/// scheduled out for good by a busy machine; then it is not worth standing still.
const HAND_OVER: Duration = Duration::from_millis(2);

/// How long a thread may run job after job while nobody waits that is counted. So much longer than
/// the switch interval that whoever waits has asked by then, although each time that the GIL is let
/// go of starts their interval anew: otherwise they would never be let in.
const OTHERS: Duration = Duration::from_millis(1);

/// How long it then stays away where CPython can't tell whether somebody has asked.
const LINGER: Duration = Duration::from_micros(50);

/// Every so many times it stays away in any case: Python code may have set a longer switch interval,
/// and then nobody ever asks.
const NOW_AND_THEN: u32 = 16;

#[cfg(not(feature = "loom"))]
static TURNS: Turns = Turns::new();
// As in `wakeup`.
#[cfg(feature = "loom")]
static TURNS: std::sync::LazyLock<Turns> = std::sync::LazyLock::new(Turns::new);

static DROP_REQUESTS: AtomicBool = AtomicBool::new(false);

/// Whether the holder of the shared GIL may be deaf to those who wait, see [`drop_request`].
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
        TURNS.take(|| {
            // Counted as waiting by now.
            if needs_drop_requests() {
                wakeup::note_wait();
            }
            get();
        });
    } else {
        get();
    }
}

/// Changes with each context that gets the GIL after it has waited for it.
pub(crate) fn turn() -> usize {
    TURNS.generation()
}

/// Whether a context waits.
pub(crate) fn is_wanted() -> bool {
    TURNS.are_wanted()
}

/// Whether a thread that has been attached for so long should hand over to another context now.
pub(crate) fn is_turn_over(held: Duration) -> bool {
    held > BUDGET && TURNS.are_wanted()
}

/// Whether a thread that has been attached for so long should let those in that are not counted.
pub(crate) fn is_turn_of_others(held: Duration) -> bool {
    held > OTHERS
}

/// Detaches and attaches again, so that those are let in that are not counted. `times` is how often
/// the thread has done so before.
///
/// # Safety
/// The current thread is attached with `tstate`.
pub(crate) unsafe fn let_others_in(tstate: *mut ffi::PyThreadState, shared: bool, times: u32) {
    // SAFETY: the caller says we are attached.
    unsafe { ffi::PyEval_SaveThread() };
    let is_deaf = shared && needs_drop_requests();
    if is_deaf || times % NOW_AND_THEN == NOW_AND_THEN - 1 {
        // CPython doesn't wait until another has it: give them the time.
        std::thread::sleep(LINGER);
    }
    // SAFETY: detached above, on this thread.
    unsafe { attach(tstate, shared) };
}

/// Detaches, lets a waiting context have its turn, and attaches again.
///
/// # Safety
/// The current thread is attached with `tstate`.
pub(crate) unsafe fn hand_over(tstate: *mut ffi::PyThreadState) {
    let start = Instant::now();
    let let_go = || {
        // SAFETY: the caller says we are attached.
        unsafe { ffi::PyEval_SaveThread() };
    };
    // SAFETY: detached by then, on this thread.
    let get = || unsafe { ffi::PyEval_RestoreThread(tstate) };
    TURNS.hand_over(let_go, || start.elapsed() < HAND_OVER, get);
}
