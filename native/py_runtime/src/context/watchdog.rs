//! The watchdog: polls all contexts for jobs that run long. Is their caller still there, are they
//! stuck, does the holder of the GIL see that others wait.
//!
//! None of this is worth a clock or a monitor per job, most of which take microseconds. So one
//! thread polls all contexts now and then while any of them works, and sleeps while none does. It
//! never waits for Python: other threads do what has to.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::gil;
use crate::gil::drop_request::{self, GilHolder};
use crate::interpreter;
use crate::sync::os_thread;
use crate::sync::wakeup;

/// A context, as the watchdog sees it.
pub(crate) trait WatchTarget: GilHolder {
    /// Whether it has anything to do. Takes the lock under which it takes things up.
    fn is_busy(&self) -> bool;
    /// Checks the jobs that it runs. Must not wait.
    fn check(self: Arc<Self>);
    /// Whether it shares the main interpreter's GIL.
    fn shares_gil(&self) -> bool;
}

/// The time between two polls, and the age from which on a job is checked.
const POLL: Duration = Duration::from_millis(5);
/// The time between two polls while all jobs have been running for longer than `SLOW_AFTER`.
const SLOW_POLL: Duration = Duration::from_millis(50);
const SLOW_AFTER: Duration = Duration::from_secs(1);
/// How long it keeps polling while no context works. So calls that come now and then needn't wake
/// it.
const IDLE_TIMEOUT: Duration = Duration::from_millis(500);
/// How much longer than a poll the pause after it lasts: thousands of contexts don't make the
/// watchdog take more than a tenth of a core.
const PAUSE_PER_POLL: u32 = 9;
/// But no longer than this. A poll also takes long when its thread is scheduled out, and jobs whose
/// callers are gone must be stopped on a busy machine, too.
const MAX_PAUSE: Duration = Duration::from_millis(100);

static TARGETS: Mutex<List> = Mutex::new(List { contexts: Vec::new(), clean_at: 0 });
static IS_RUNNING: Mutex<bool> = Mutex::new(false);

/// The contexts that are watched, and some that are gone.
struct List {
    contexts: Vec<Weak<dyn WatchTarget>>,
    /// The length from which on those that are gone are removed: twice what was left the last time,
    /// so that each of many contexts doesn't go through all of them.
    clean_at: usize,
}

impl List {
    fn add(&mut self, context: Weak<dyn WatchTarget>) {
        if self.contexts.len() >= self.clean_at {
            self.contexts.retain(|context| context.strong_count() > 0);
            self.clean_at = 2 * self.contexts.len() + 8;
        }
        self.contexts.push(context);
    }
}

/// Watches a context as long as it exists.
pub(crate) fn register(context: Weak<dyn WatchTarget>) {
    TARGETS.lock().add(context);
    let mut runs = IS_RUNNING.lock();
    if !*runs {
        let spawned = os_thread::spawn("py_watchdog", run);
        // Without a thread now, the next context tries again.
        *runs = spawned.is_ok();
    }
}

/// The main interpreter, in which threads may compute that have outlived the contexts of their
/// jobs.
struct Main;

impl GilHolder for Main {
    fn busy_for(&self) -> Option<Duration> {
        None
    }

    fn interpreter_number(&self) -> i64 {
        0
    }

    fn with_attached(&self, work: &mut dyn FnMut()) {
        // SAFETY: a thread of ours that isn't attached.
        unsafe { interpreter::with_main_attached(work) };
    }
}

/// Whether there is work for the watchdog. Called as it falls asleep.
fn is_work() -> bool {
    fence(Ordering::SeqCst);
    (gil::needs_drop_requests() && gil::has_waiters())
        || targets().iter().any(|context| context.is_busy())
}

fn targets() -> Vec<Arc<dyn WatchTarget>> {
    TARGETS.lock().contexts.iter().filter_map(Weak::upgrade).collect()
}

fn run() {
    let mut worked_at = Instant::now();
    loop {
        let began = Instant::now();
        let pause = poll();
        let took = began.elapsed();
        if pause.is_some() {
            worked_at = Instant::now();
        } else if worked_at.elapsed() > IDLE_TIMEOUT {
            wakeup::WATCHDOG.wait_unless(is_work);
            worked_at = Instant::now();
        }
        let rest = (took * PAUSE_PER_POLL).min(MAX_PAUSE);
        std::thread::sleep(pause.unwrap_or(POLL).max(rest));
    }
}

/// Polls once. The time until the next poll, or `None` when nothing runs.
fn poll() -> Option<Duration> {
    let mut pause = None;
    let targets = targets();
    if gil::needs_drop_requests() && gil::has_waiters() {
        pause = Some(drop_request::LONG_JOB);
        if drop_request::check_stalled() {
            let main: Arc<dyn GilHolder> = Arc::new(Main);
            let sharing = targets.iter().filter(|context| context.shares_gil()).cloned();
            let sharing = sharing.map(|context| -> Arc<dyn GilHolder> { context });
            drop_request::watch_all(sharing.chain([main]));
        }
    }
    for context in targets {
        let Some(busy) = context.busy_for() else { continue };
        let slow = if busy > SLOW_AFTER { SLOW_POLL } else { POLL };
        let needs_requests = context.shares_gil() && gil::needs_drop_requests();
        if needs_requests && busy > drop_request::LONG_JOB {
            drop_request::watch_holder(Arc::clone(&context) as _);
        }
        if busy > POLL {
            context.check();
        }
        let next = if needs_requests { drop_request::LONG_JOB } else { slow };
        pause = Some(pause.map_or(next, |pause: Duration| pause.min(next)));
    }
    pause
}
