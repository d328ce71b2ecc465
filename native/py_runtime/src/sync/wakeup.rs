//! Waking a watcher that sleeps while nobody works, at no cost to those who do.
//!
//! A worker takes its work up under a lock, and the watcher looks for work under the same lock.
//! That is what makes a plain load enough in [`Alarm::raise`]: either the watcher looks after the
//! worker has taken its work up, and sees it; or it looked before, and then the worker, which got
//! the lock after it, sees that it sleeps.

use std::sync::atomic::fence;

use crate::sync::{AtomicBool, Mutex, Ordering, Thread, current, park};

/// Where one watcher sleeps.
#[derive(Debug)]
pub struct Alarm {
    asleep: AtomicBool,
    sleeper: Mutex<Option<Thread>>,
}

impl Alarm {
    /// One that nobody sleeps by yet.
    #[cfg(not(feature = "loom"))]
    pub const fn new() -> Self {
        Alarm { asleep: AtomicBool::new(false), sleeper: Mutex::new(None) }
    }

    /// One that nobody sleeps by yet.
    #[cfg(feature = "loom")]
    pub fn new() -> Self {
        Alarm { asleep: AtomicBool::new(false), sleeper: Mutex::new(None) }
    }

    /// Wakes the watcher if it sleeps. By a worker that has just taken something up under a lock
    /// that `is_work` takes too.
    pub fn raise(&self) {
        if self.asleep.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        if let Some(sleeper) = self.sleeper.lock().take() {
            self.asleep.store(false, Ordering::Release);
            sleeper.unpark();
        }
    }

    /// Sleeps until the alarm is raised, unless there is work already. By the one watcher.
    pub fn sleep_unless(&self, is_work: impl FnOnce() -> bool) {
        *self.sleeper.lock() = Some(current());
        self.asleep.store(true, Ordering::Release);
        if is_work() {
            // Whoever raises it meanwhile has done the same.
            self.wake();
        }
        while self.asleep.load(Ordering::Acquire) {
            park();
        }
    }
}

/// What the watchdog sleeps by. Raised below it, too: by contexts that wait for the GIL.
#[cfg(not(feature = "loom"))]
pub(crate) static WATCHDOG: Alarm = Alarm::new();
// loom's types can't be made at compile time. No model gets here.
#[cfg(feature = "loom")]
pub(crate) static WATCHDOG: std::sync::LazyLock<Alarm> = std::sync::LazyLock::new(Alarm::new);

/// A context has just taken something up.
pub(crate) fn note_work() {
    WATCHDOG.raise();
}

/// A context waits for the GIL, and is counted as doing so.
pub(crate) fn note_wait() {
    // Before the look at the alarm: the watchdog looks for those who wait once it has set that.
    fence(Ordering::SeqCst);
    WATCHDOG.raise();
}

impl Default for Alarm {
    fn default() -> Self {
        Alarm::new()
    }
}
