//! Looking after jobs that run long: is their caller still there, are they stuck, does the holder
//! of the GIL hear those who wait.
//!
//! None of this is worth a clock or a monitor per job, most of which take microseconds. So one
//! thread looks at all contexts now and then while any of them works, and sleeps while none does.
//! It never waits for Python: what has to is left to other threads.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::gil;
use crate::gil::drop_request;
use crate::gil::drop_request::GilHolder;
use crate::interpreter;
use crate::sync::os_thread;
use crate::sync::wakeup;

/// A context, as the watcher sees it.
pub(crate) trait Watched: GilHolder {
    /// Whether it has anything to do. Takes the lock under which it takes things up.
    fn is_busy(&self) -> bool;
    /// Sees to the jobs it runs. Must not wait.
    fn look_after(self: Arc<Self>);
    /// Whether it takes turns on the main interpreter's GIL.
    fn shares_gil(&self) -> bool;
}

/// How often the watcher looks, and from what age on a job is looked after.
const LOOK: Duration = Duration::from_millis(5);
/// How often while there are only jobs that have been running for longer than `OLD`.
const SELDOM: Duration = Duration::from_millis(50);
const OLD: Duration = Duration::from_secs(1);
/// How long it stays awake while nothing works. Calls that come now and then needn't wake it.
const LINGER: Duration = Duration::from_millis(500);

static WATCHED: Mutex<List> = Mutex::new(List { contexts: Vec::new(), clean_at: 0 });
static RUNS: Mutex<bool> = Mutex::new(false);

/// The contexts that are watched, and some that are gone.
struct List {
    contexts: Vec<Weak<dyn Watched>>,
    /// From what length on those that are gone are taken out: twice what was left the last time, so that
    /// many contexts don't look through all of them each.
    clean_at: usize,
}

impl List {
    fn add(&mut self, context: Weak<dyn Watched>) {
        if self.contexts.len() >= self.clean_at {
            self.contexts.retain(|context| context.strong_count() > 0);
            self.clean_at = 2 * self.contexts.len() + 8;
        }
        self.contexts.push(context);
    }
}

/// Keeps an eye on a context as long as it exists.
pub(crate) fn watch(context: Weak<dyn Watched>) {
    WATCHED.lock().add(context);
    let mut runs = RUNS.lock();
    if !*runs {
        let spawned = os_thread::spawn("py_watch", watch_all);
        // Without a thread to spare now, the next context tries again.
        *runs = spawned.is_ok();
    }
}

/// The main interpreter, in which threads may compute that have outlived the contexts of their jobs.
struct Main;

impl GilHolder for Main {
    fn busy_for(&self) -> Option<Duration> {
        None
    }

    fn interpreter_number(&self) -> i64 {
        0
    }

    fn visit(&self, work: &mut dyn FnMut()) {
        // SAFETY: a thread of ours that isn't attached.
        unsafe { interpreter::visit_main(work) };
    }
}

/// Whether there is somebody to look after. By the watcher, as it falls asleep.
fn is_work() -> bool {
    fence(Ordering::SeqCst);
    (gil::needs_drop_requests() && gil::is_wanted())
        || watched().iter().any(|context| context.is_busy())
}

fn watched() -> Vec<Arc<dyn Watched>> {
    WATCHED.lock().contexts.iter().filter_map(Weak::upgrade).collect()
}

fn watch_all() {
    let mut worked = Instant::now();
    loop {
        let pause = look();
        if pause.is_some() {
            worked = Instant::now();
        } else if worked.elapsed() > LINGER {
            wakeup::WATCHDOG.sleep_unless(is_work);
            worked = Instant::now();
        }
        std::thread::sleep(pause.unwrap_or(LOOK));
    }
}

/// Looks once. How long until the next look, or `None` when nothing runs.
fn look() -> Option<Duration> {
    let mut pause = None;
    let watched = watched();
    if gil::needs_drop_requests() && gil::is_wanted() {
        pause = Some(drop_request::LONG);
        if drop_request::is_stalled() {
            let main: Arc<dyn GilHolder> = Arc::new(Main);
            let sharing = watched.iter().filter(|context| context.shares_gil()).cloned();
            let sharing = sharing.map(|context| -> Arc<dyn GilHolder> { context });
            drop_request::nudge_all(sharing.chain([main]));
        }
    }
    for context in watched {
        let Some(busy) = context.busy_for() else { continue };
        let seldom = if busy > OLD { SELDOM } else { LOOK };
        let often = context.shares_gil() && gil::needs_drop_requests();
        if often && busy > drop_request::LONG {
            drop_request::nudge_in_background(Arc::clone(&context) as _);
        }
        if busy > LOOK {
            context.look_after();
        }
        let next = if often { drop_request::LONG } else { seldom };
        pause = Some(pause.map_or(next, |pause: Duration| pause.min(next)));
    }
    pause
}
