//! Making the holder of a shared GIL hear that others wait for it, on CPython before 3.13.
//!
//! There a thread that waits asks the threads of *its own* interpreter to let go. If the holder is
//! in another interpreter it never hears, and a loop in pure Python keeps the GIL for as long as it
//! runs: one busy sub-interpreter stops all others and the workers. So somebody has to wait in the
//! holder's interpreter. Who holds the GIL can't be asked, but who has been running a job for long
//! is known: one thread looks at all contexts, often while there are such and rarely otherwise, and
//! for each interpreter that runs a long job another waits in it until the job is over.
//!
//! Nothing of this happens before the first sub-interpreter, or from CPython 3.13 on.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A context that may hold the shared GIL.
pub(crate) trait Holder: Send + Sync {
    /// The number of the interpreter that it runs Python in.
    fn interpreter_number(&self) -> i64;
    /// Whether it has been running the same code for so long.
    fn is_running_for(&self, long: Duration) -> bool;
    /// Waits for the GIL in that interpreter, and lets go of it.
    fn nudge(&self);
}

/// CPython's own switch interval, as `boot` sets it.
const LONG: Duration = Duration::from_millis(1);
const SELDOM: Duration = Duration::from_millis(20);

static ON: AtomicBool = AtomicBool::new(false);
static HOLDERS: Mutex<Vec<Weak<dyn Holder>>> = Mutex::new(Vec::new());
/// The interpreters that a thread is waiting in. Never more than there are.
static NUDGED: Mutex<Option<HashSet<i64>>> = Mutex::new(None);

/// Whether the holder of the shared GIL may be deaf to those who wait.
pub(crate) fn is_on() -> bool {
    cfg!(not(Py_3_13)) && ON.load(Ordering::Relaxed)
}

/// Keeps an eye on a context in the main interpreter, or with `own` in another that shares its GIL.
pub(crate) fn watch(holder: Weak<dyn Holder>, own: bool) {
    if cfg!(Py_3_13) {
        return;
    }
    {
        let mut holders = HOLDERS.lock();
        holders.retain(|holder| holder.strong_count() > 0);
        holders.push(holder);
    }
    if own && !ON.swap(true, Ordering::Relaxed) {
        let spawned = std::thread::Builder::new().name("py_gil".into()).spawn(watch_all);
        // Without a thread to spare now, the next context tries again.
        ON.store(spawned.is_ok(), Ordering::Relaxed);
    }
}

fn watch_all() {
    let mut pause = SELDOM;
    loop {
        std::thread::sleep(pause);
        let holders: Vec<_> = HOLDERS.lock().iter().filter_map(Weak::upgrade).collect();
        pause = SELDOM;
        for holder in holders.into_iter().filter(|holder| holder.is_running_for(LONG)) {
            pause = LONG;
            nudge_in_background(holder);
        }
    }
}

fn nudge_in_background(holder: Arc<dyn Holder>) {
    let number = holder.interpreter_number();
    if !NUDGED.lock().get_or_insert_default().insert(number) {
        return;
    }
    let nudge = move || {
        nudge_until_it_is_over(holder.as_ref());
        NUDGED.lock().get_or_insert_default().remove(&number);
    };
    if std::thread::Builder::new().name("py_nudge".into()).spawn(nudge).is_err() {
        NUDGED.lock().get_or_insert_default().remove(&number);
    }
}

/// Seldom while the GIL is easily got, because the job is blocked in C: there is no need then.
fn nudge_until_it_is_over(holder: &dyn Holder) {
    let mut pause = LONG;
    while holder.is_running_for(LONG) {
        let asked = Instant::now();
        holder.nudge();
        pause = if asked.elapsed() < LONG / 2 { (pause * 2).min(SELDOM) } else { LONG };
        std::thread::sleep(pause);
    }
}
