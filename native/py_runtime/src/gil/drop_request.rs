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
pub(crate) const LONG: Duration = Duration::from_millis(1);
/// How often the holder is asked at most.
const OFTEN: Duration = Duration::from_micros(100);
/// How long whoever has asked keeps the GIL. The holder wants it again as soon as it sees that somebody
/// has got it, and would come before those who have to be woken. So it is to find it taken.
const KEEP: Duration = Duration::from_micros(20);
/// How often at least, for those who aren't counted as waiting.
const SELDOM: Duration = Duration::from_millis(20);

/// The interpreters that a thread is waiting in. Never more than there are.
static NUDGED: Mutex<Option<HashSet<i64>>> = Mutex::new(None);

/// Where the code may run that holds the GIL.
pub(crate) trait GilHolder: Send + Sync {
    /// How long it has been running the same code.
    fn busy_for(&self) -> Option<Duration>;
    /// The number of its interpreter.
    fn interpreter_number(&self) -> i64;
    /// Waits for the GIL in that interpreter, and does something with it.
    fn visit(&self, work: &mut dyn FnMut());
}

/// Waits in the interpreter of a context that runs a long job, unless somebody does already.
pub(crate) fn nudge_in_background(holder: Arc<dyn GilHolder>) {
    nudge_with(holder, nudge_until_it_is_over);
}

fn nudge_with(holder: Arc<dyn GilHolder>, nudge_for_long: fn(&dyn GilHolder)) {
    let number = holder.interpreter_number();
    if !NUDGED.lock().get_or_insert_default().insert(number) {
        return;
    }
    let nudge = move || {
        nudge_for_long(holder.as_ref());
        NUDGED.lock().get_or_insert_default().remove(&number);
    };
    if os_thread::spawn("py_nudge", nudge).is_err() {
        NUDGED.lock().get_or_insert_default().remove(&number);
    }
}

/// Whether contexts wait, and none has had the GIL since the last look. By the watcher alone.
pub(crate) fn is_stalled() -> bool {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    let turn = gil::turn();
    LAST.swap(turn, Ordering::Relaxed) == turn && gil::is_wanted()
}

/// Waits in each of these interpreters, which share the GIL, for as long as that helps anybody.
pub(crate) fn nudge_all(holders: impl Iterator<Item = Arc<dyn GilHolder>>) {
    holders.for_each(|holder| nudge_with(holder, nudge_while_it_helps));
}

/// Until nobody has waited for long, or the GIL was easily got each time.
fn nudge_while_it_helps(holder: &dyn GilHolder) {
    let mut helped = Instant::now();
    while helped.elapsed() < SELDOM {
        if gil::is_wanted() && !nudge(holder) {
            helped = Instant::now();
        }
        std::thread::sleep(OFTEN);
    }
}

/// As soon as a context waits. For others who may be waiting now and then, and seldom while the GIL is
/// easily got, because the job is blocked in C: there is no need then.
fn nudge_until_it_is_over(holder: &dyn GilHolder) {
    let mut pause = LONG;
    while holder.busy_for().is_some_and(|busy| busy > LONG) {
        let is_easy = nudge(holder);
        pause = if is_easy { (pause * 2).min(SELDOM) } else { LONG };
        pause_until_wanted(pause);
    }
}

/// Has the holder let go. Whether the GIL was easily got.
fn nudge(holder: &dyn GilHolder) -> bool {
    #[cfg(not(Py_3_13))]
    if crate::alloc::large_blocks::are_traced() {
        // A visit allocates, see there. The others have to be patient as long as allocations are traced.
        return true;
    }
    let (asked, turn) = (Instant::now(), gil::turn());
    let mut is_easy = true;
    holder.visit(&mut || {
        is_easy = asked.elapsed() < SWITCH_INTERVAL / 2;
        // Where contexts have had it meanwhile, they need no help.
        if !is_easy && gil::turn() == turn {
            std::thread::sleep(KEEP);
        }
    });
    is_easy
}

fn pause_until_wanted(at_most: Duration) {
    let since = Instant::now();
    std::thread::sleep(OFTEN);
    while since.elapsed() < at_most && !gil::is_wanted() {
        std::thread::sleep(OFTEN);
    }
}
