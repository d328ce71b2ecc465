//! Making the holder of a shared GIL see a drop request, on CPython before 3.13.
//!
//! There a thread that waits sets `gil_drop_request` in its *own* interpreter. A holder in another
//! interpreter never sees that, and a loop in pure Python keeps the GIL for as long as it runs: one
//! busy sub-interpreter stops all others and the workers. So a thread has to wait in the holder's
//! interpreter. CPython doesn't tell who holds the GIL, but the watchdog knows which contexts run
//! long jobs: for each interpreter that runs one, a thread waits in it until the job is over.
//!
//! Python code may also compute in a thread that it has started, which no context knows. Then
//! contexts wait for long and none gets the GIL. If so, a thread waits in each interpreter.
//!
//! None of this happens before the first sub-interpreter, or from CPython 3.13 on.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::gil;
use crate::gil::switch_interval::SWITCH_INTERVAL;
use crate::sync::os_thread;

/// From what age on a job is long.
pub(crate) const LONG_JOB: Duration = Duration::from_millis(1);
/// The shortest and the longest time between two requests. The longest is for threads that aren't
/// counted as waiting.
const MIN_INTERVAL: Duration = Duration::from_micros(100);
const MAX_INTERVAL: Duration = Duration::from_millis(20);
/// How long the requesting thread keeps the GIL. The holder asks for it again as soon as it sees
/// that another thread has got it, and would get it before threads that have to be woken.
const HOLD_AFTER_DROP: Duration = Duration::from_micros(20);

/// The numbers of the interpreters that a thread waits in.
static WATCHED: Mutex<Option<HashSet<i64>>> = Mutex::new(None);

/// An interpreter whose code may hold the GIL.
pub(crate) trait GilHolder: Send + Sync {
    /// How long it has been running the same code.
    fn busy_for(&self) -> Option<Duration>;
    /// The number of its interpreter.
    fn interpreter_number(&self) -> i64;
    /// Waits for the GIL in that interpreter, and runs `work` attached to it.
    fn with_attached(&self, work: &mut dyn FnMut());
}

/// Waits in the interpreter of a context that runs a long job, unless a thread does already.
pub(crate) fn watch_holder(holder: Arc<dyn GilHolder>) {
    watch_by(holder, request_until_job_ends);
}

fn watch_by(holder: Arc<dyn GilHolder>, request_repeatedly: fn(&dyn GilHolder)) {
    let number = holder.interpreter_number();
    if !WATCHED.lock().get_or_insert_default().insert(number) {
        return;
    }
    let watch = move || {
        request_repeatedly(holder.as_ref());
        WATCHED.lock().get_or_insert_default().remove(&number);
    };
    if os_thread::spawn("py_gil_drop", watch).is_err() {
        WATCHED.lock().get_or_insert_default().remove(&number);
    }
}

/// Whether contexts wait, and none has got the GIL since the last call. For the watchdog alone.
pub(crate) fn check_stalled() -> bool {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    let handoffs = gil::handoffs();
    LAST.swap(handoffs, Ordering::Relaxed) == handoffs && gil::has_waiters()
}

/// Waits in each of these interpreters, which share the GIL, for as long as that helps.
pub(crate) fn watch_all(holders: impl Iterator<Item = Arc<dyn GilHolder>>) {
    holders.for_each(|holder| watch_by(holder, request_while_it_helps));
}

/// Until no context has waited for a while, or the GIL was free each time.
fn request_while_it_helps(holder: &dyn GilHolder) {
    let mut helped = Instant::now();
    while helped.elapsed() < MAX_INTERVAL {
        if gil::has_waiters() && !request_drop(holder) {
            helped = Instant::now();
        }
        std::thread::sleep(MIN_INTERVAL);
    }
}

/// Requests as soon as a context waits, and now and then for threads that aren't counted. Less and
/// less of that while the GIL is free, because the job is blocked in C: there is no need then.
fn request_until_job_ends(holder: &dyn GilHolder) {
    let mut pause = LONG_JOB;
    while holder.busy_for().is_some_and(|busy| busy > LONG_JOB) {
        let is_free = request_drop(holder);
        pause = if is_free { (pause * 2).min(MAX_INTERVAL) } else { LONG_JOB };
        sleep_until_waiters(pause);
    }
}

/// Waits for the GIL in the holder's interpreter. Whether it was free.
fn request_drop(holder: &dyn GilHolder) -> bool {
    #[cfg(not(Py_3_13))]
    if crate::alloc::large_blocks::are_traced() {
        // Attaching allocates, see there. Other threads wait as long as allocations are traced.
        return true;
    }
    let (asked, handoffs) = (Instant::now(), gil::handoffs());
    let mut is_free = true;
    holder.with_attached(&mut || {
        is_free = asked.elapsed() < SWITCH_INTERVAL / 2;
        // If contexts have had it meanwhile, they need no help.
        if !is_free && gil::handoffs() == handoffs {
            std::thread::sleep(HOLD_AFTER_DROP);
        }
    });
    is_free
}

fn sleep_until_waiters(max: Duration) {
    let since = Instant::now();
    std::thread::sleep(MIN_INTERVAL);
    while since.elapsed() < max && !gil::has_waiters() {
        std::thread::sleep(MIN_INTERVAL);
    }
}
