//! Making the holder of a shared GIL hear that others wait for it, on CPython before 3.13.
//!
//! There a thread that waits asks the threads of *its own* interpreter to let go. If the holder is
//! in another interpreter it never hears, and a loop in pure Python keeps the GIL for as long as it
//! runs: one busy sub-interpreter stops all others and the workers. So somebody has to wait in the
//! holder's interpreter. Who holds the GIL can't be asked, but who has been running a job for long
//! is known to the watcher: for each interpreter that runs a long job a thread waits in it until
//! the job is over.
//!
//! Python code may also compute in a thread that it has started, of which the library knows nothing. It is seen
//! by what it does: a context waits for long, and none has its turn. Then a thread waits in each interpreter.
//!
//! Nothing of this happens before the first sub-interpreter, or from CPython 3.13 on.

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
/// How often the holder is asked at most.
const MIN_INTERVAL: Duration = Duration::from_micros(100);
/// How long whoever has asked keeps the GIL. The holder wants it again as soon as it sees that somebody
/// has got it, and would come before those who have to be woken. So it is to find it taken.
const HOLD_AFTER_DROP: Duration = Duration::from_micros(20);
/// How often at least, for those who aren't counted as waiting.
const MAX_INTERVAL: Duration = Duration::from_millis(20);

/// The interpreters that a thread is waiting in. Never more than there are.
static WATCHED: Mutex<Option<HashSet<i64>>> = Mutex::new(None);

/// Where the code may run that holds the GIL.
pub(crate) trait GilHolder: Send + Sync {
    /// How long it has been running the same code.
    fn busy_for(&self) -> Option<Duration>;
    /// The number of its interpreter.
    fn interpreter_number(&self) -> i64;
    /// Waits for the GIL in that interpreter, and does something with it.
    fn with_attached(&self, work: &mut dyn FnMut());
}

/// Waits in the interpreter of a context that runs a long job, unless somebody does already.
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

/// Whether contexts wait, and none has had the GIL since the last look. By the watcher alone.
pub(crate) fn check_stalled() -> bool {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    let handoffs = gil::handoffs();
    LAST.swap(handoffs, Ordering::Relaxed) == handoffs && gil::has_waiters()
}

/// Waits in each of these interpreters, which share the GIL, for as long as that helps anybody.
pub(crate) fn watch_all(holders: impl Iterator<Item = Arc<dyn GilHolder>>) {
    holders.for_each(|holder| watch_by(holder, request_while_it_helps));
}

/// Until nobody has waited for long, or the GIL was easily got each time.
fn request_while_it_helps(holder: &dyn GilHolder) {
    let mut helped = Instant::now();
    while helped.elapsed() < MAX_INTERVAL {
        if gil::has_waiters() && !request_drop(holder) {
            helped = Instant::now();
        }
        std::thread::sleep(MIN_INTERVAL);
    }
}

/// As soon as a context waits. For others who may be waiting now and then, and seldom while the GIL is
/// easily got, because the job is blocked in C: there is no need then.
fn request_until_job_ends(holder: &dyn GilHolder) {
    let mut pause = LONG_JOB;
    while holder.busy_for().is_some_and(|busy| busy > LONG_JOB) {
        let is_easy = request_drop(holder);
        pause = if is_easy { (pause * 2).min(MAX_INTERVAL) } else { LONG_JOB };
        sleep_until_waiters(pause);
    }
}

/// Has the holder let go. Whether the GIL was easily got.
fn request_drop(holder: &dyn GilHolder) -> bool {
    #[cfg(not(Py_3_13))]
    if crate::alloc::large_blocks::are_traced() {
        // A visit allocates, see there. The others have to be patient as long as allocations are traced.
        return true;
    }
    let (asked, handoffs) = (Instant::now(), gil::handoffs());
    let mut is_easy = true;
    holder.with_attached(&mut || {
        is_easy = asked.elapsed() < SWITCH_INTERVAL / 2;
        // Where contexts have had it meanwhile, they need no help.
        if !is_easy && gil::handoffs() == handoffs {
            std::thread::sleep(HOLD_AFTER_DROP);
        }
    });
    is_easy
}

fn sleep_until_waiters(max: Duration) {
    let since = Instant::now();
    std::thread::sleep(MIN_INTERVAL);
    while since.elapsed() < max && !gil::has_waiters() {
        std::thread::sleep(MIN_INTERVAL);
    }
}
