//! Waking a thread that sleeps while there is no work, at no cost to the threads that work.
//!
//! A worker takes its work up under a lock, and the sleeper checks for work under the same lock.
//! That is what makes a plain load enough in [`Wakeup::notify`]. Either the sleeper checks after
//! the worker has taken its work up, and sees it. Or it has checked before, and then the worker,
//! which gets the lock after it, sees that it sleeps.

use std::sync::atomic::fence;

use crate::sync::{AtomicBool, Mutex, Ordering, Thread, current, park};

/// Where one thread sleeps.
#[derive(Debug)]
pub struct Wakeup {
    asleep: AtomicBool,
    sleeper: Mutex<Option<Thread>>,
}

impl Wakeup {
    /// No thread sleeps yet.
    #[cfg(not(feature = "loom"))]
    pub const fn new() -> Self {
        Wakeup { asleep: AtomicBool::new(false), sleeper: Mutex::new(None) }
    }

    /// No thread sleeps yet.
    #[cfg(feature = "loom")]
    pub fn new() -> Self {
        Wakeup { asleep: AtomicBool::new(false), sleeper: Mutex::new(None) }
    }

    /// Wakes the thread if it sleeps. Called by a worker that has just taken something up under a
    /// lock that `is_work` takes too.
    pub fn notify(&self) {
        if self.asleep.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// As [`Wakeup::notify`], by a worker that has taken nothing up under a lock, but by an atomic
    /// in sequentially consistent order (`SeqCst`), which `is_work` reads in that order too.
    pub fn notify_unlocked(&self) {
        if self.asleep.load(Ordering::SeqCst) {
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

    /// Sleeps until [`Wakeup::notify`] is called, unless there is work already. For the one thread.
    pub fn wait_unless(&self, is_work: impl FnOnce() -> bool) {
        *self.sleeper.lock() = Some(current());
        self.asleep.store(true, Ordering::Release);
        if is_work() {
            // A worker that notifies meanwhile has done the same.
            self.wake();
        }
        while self.asleep.load(Ordering::Acquire) {
            park();
        }
    }
}

/// Wakes the watchdog. It is here because contexts that wait for the GIL use it, which is below the
/// watchdog.
#[cfg(not(feature = "loom"))]
pub(crate) static WATCHDOG: Wakeup = Wakeup::new();
// loom's types can't be made at compile time. No model gets here.
#[cfg(feature = "loom")]
pub(crate) static WATCHDOG: std::sync::LazyLock<Wakeup> = std::sync::LazyLock::new(Wakeup::new);

/// A context has just taken something up.
pub(crate) fn notify_work() {
    WATCHDOG.notify();
}

/// A caller has just borrowed a context.
pub(crate) fn notify_borrowed() {
    WATCHDOG.notify_unlocked();
}

/// A context waits for the GIL, and is counted as a waiter.
pub(crate) fn notify_wait() {
    // Before the flag is read: the watchdog checks for waiters once it has set the flag.
    fence(Ordering::SeqCst);
    WATCHDOG.notify();
}

impl Default for Wakeup {
    fn default() -> Self {
        Wakeup::new()
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    #[test]
    fn a_thread_sleeps_until_it_is_notified() {
        for notify in [|| WATCHDOG.notify(), notify_work, notify_borrowed, notify_wait] {
            let (woken, is_woken) = channel();
            std::thread::spawn(move || {
                WATCHDOG.wait_unless(|| false);
                woken.send(()).unwrap();
            });
            let start = Instant::now();
            while !WATCHDOG.asleep.load(Ordering::Acquire) {
                assert!(start.elapsed() < DEADLINE, "it doesn't sleep");
                std::thread::yield_now();
            }
            assert!(is_woken.try_recv().is_err());
            notify();
            is_woken.recv_timeout(DEADLINE).expect("it was not woken");
            assert!(WATCHDOG.sleeper.lock().is_none());
        }
        // It sleeps no more, so there is no thread to wake.
        WATCHDOG.notify();
    }

    #[test]
    fn a_thread_with_work_does_not_sleep() {
        let (woken, is_woken) = channel();
        std::thread::spawn(move || {
            Wakeup::new().wait_unless(|| true);
            woken.send(()).unwrap();
        });
        is_woken.recv_timeout(DEADLINE).expect("it sleeps");
    }
}
