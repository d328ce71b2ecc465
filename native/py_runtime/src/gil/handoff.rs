//! Fair handoff of what one thread at a time can hold, here the GIL. A holder that releases it and
//! asks again at once would nearly always get it back.
//!
//! Waiters increment `waiters`; each new holder increments `generation`. A thread that hands off
//! waits until the generation has changed, because another thread has had the lock then, or until
//! no thread waits any more.
//!
//! A thread that waits inside CPython wakes at each switch interval to ask the holder to release
//! the GIL: a thousand of them would keep all cores busy with that. So only a few wait there at a
//! time. The others sleep outside, in the order in which they came, each until a thread that was
//! inside has had the lock.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, Thread, current, park, yield_now};

/// How many threads wait inside CPython at most: enough that one is ready whenever the lock is
/// released. In a model of three threads one of them sleeps.
const MAX_INSIDE: usize = if cfg!(feature = "loom") { 2 } else { 4 };

/// Who waits, and how often the lock has changed hands.
#[derive(Debug)]
pub struct Handoff {
    waiters: AtomicUsize,
    generation: AtomicUsize,
    outside: Mutex<Outside>,
}

/// The threads that may not wait inside yet.
#[derive(Debug)]
struct Outside {
    /// In the order in which they came.
    sleepers: VecDeque<Arc<Sleeper>>,
    /// How many were woken before they slept.
    woken_early: usize,
}

#[derive(Debug)]
struct Sleeper {
    thread: Thread,
    may_enter: AtomicBool,
}

impl Outside {
    const NOBODY: Self = Outside { sleepers: VecDeque::new(), woken_early: 0 };
}

impl Handoff {
    /// No thread waits.
    #[cfg(not(feature = "loom"))]
    pub const fn new() -> Self {
        Handoff {
            waiters: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
            outside: Mutex::new(Outside::NOBODY),
        }
    }

    /// No thread waits.
    #[cfg(feature = "loom")]
    pub fn new() -> Self {
        Handoff {
            waiters: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
            outside: Mutex::new(Outside::NOBODY),
        }
    }

    /// Waits for the lock by calling `get`, and is counted meanwhile.
    pub fn acquire(&self, get: impl FnOnce()) {
        if self.waiters.fetch_add(1, Ordering::SeqCst) >= MAX_INSIDE {
            self.sleep_outside();
        }
        get();
        self.generation.fetch_add(1, Ordering::SeqCst);
        if self.waiters.fetch_sub(1, Ordering::SeqCst) > MAX_INSIDE {
            self.wake_one();
        }
    }

    /// Sleeps until [`Handoff::wake_one`] is called for this thread. There is one call for each
    /// sleep, in whichever order: the waiters are counted up and down by one atomic, which decides
    /// on both.
    #[cold]
    fn sleep_outside(&self) {
        let sleeper = Arc::new(Sleeper { thread: current(), may_enter: AtomicBool::new(false) });
        {
            let mut outside = self.outside.lock();
            if outside.woken_early > 0 {
                outside.woken_early -= 1;
                return;
            }
            outside.sleepers.push_back(Arc::clone(&sleeper));
        }
        while !sleeper.may_enter.load(Ordering::Acquire) {
            park();
        }
    }

    #[cold]
    fn wake_one(&self) {
        let mut outside = self.outside.lock();
        match outside.sleepers.pop_front() {
            None => outside.woken_early += 1,
            Some(sleeper) => {
                drop(outside);
                sleeper.may_enter.store(true, Ordering::Release);
                sleeper.thread.unpark();
            }
        }
    }

    /// Changes whenever a thread has got the lock after waiting for it.
    pub fn generation(&self) -> usize {
        self.generation.load(Ordering::Relaxed)
    }

    /// Whether a thread waits that is counted.
    pub fn has_waiters(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) > 0
    }

    /// Releases the lock by calling `release`, waits until another thread has had it or `may_wait`
    /// returns `false`, and takes it again. Called by the holder.
    pub fn hand_off(
        &self,
        release: impl FnOnce(),
        may_wait: impl Fn() -> bool,
        get: impl FnOnce(),
    ) {
        let generation = self.generation.load(Ordering::SeqCst);
        release();
        while self.generation.load(Ordering::SeqCst) == generation
            && self.waiters.load(Ordering::SeqCst) > 0
            && may_wait()
        {
            yield_now();
        }
        self.acquire(get);
    }
}

impl Default for Handoff {
    fn default() -> Self {
        Handoff::new()
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn of_many_threads_only_a_few_wait_inside_and_all_get_the_lock() {
        let (handoff, inside) = (Handoff::new(), AtomicUsize::new(0));
        let acquired = Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        handoff.acquire(|| {
                            assert!(inside.fetch_add(1, Ordering::SeqCst) < MAX_INSIDE);
                            *acquired.lock() += 1;
                            inside.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                });
            }
        });
        assert_eq!(*acquired.lock(), 6400);
        assert!(!handoff.has_waiters());
    }

    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    const DEADLINE: Duration = Duration::from_secs(30);

    fn eventually(what: impl Fn() -> bool) {
        let start = Instant::now();
        while !what() {
            assert!(start.elapsed() < DEADLINE, "it never happens");
            yield_now();
        }
    }

    #[test]
    fn those_that_are_too_many_sleep_until_one_inside_has_had_the_lock() {
        let handoff = Handoff::new();
        let (inside, may_get) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (done, is_done) = channel();
        std::thread::scope(|scope| {
            for _ in 0..MAX_INSIDE + 2 {
                let done = done.clone();
                let (handoff, inside, may_get) = (&handoff, &inside, &may_get);
                scope.spawn(move || {
                    handoff.acquire(|| {
                        inside.fetch_add(1, Ordering::SeqCst);
                        eventually(|| may_get.load(Ordering::SeqCst));
                    });
                    done.send(()).unwrap();
                });
            }
            let sleeping = || handoff.outside.lock().sleepers.len();
            eventually(|| sleeping() == 2 && inside.load(Ordering::SeqCst) == MAX_INSIDE);
            assert!(handoff.has_waiters());
            may_get.store(true, Ordering::SeqCst);
            for _ in 0..MAX_INSIDE + 2 {
                is_done.recv_timeout(DEADLINE).expect("a thread was never woken");
            }
        });
        assert_eq!(handoff.generation(), MAX_INSIDE + 2);
        assert_eq!(handoff.outside.lock().woken_early, 0);
        assert!(!handoff.has_waiters());
    }

    #[test]
    fn a_thread_that_was_woken_before_it_slept_does_not_sleep() {
        let handoff = Arc::new(Handoff::new());
        handoff.wake_one();
        handoff.wake_one();
        assert_eq!(handoff.outside.lock().woken_early, 2);
        let (done, is_done) = channel();
        let sleepers = Arc::clone(&handoff);
        std::thread::spawn(move || {
            sleepers.sleep_outside();
            done.send(()).unwrap();
        });
        is_done.recv_timeout(DEADLINE).expect("it sleeps");
        assert_eq!(handoff.outside.lock().woken_early, 1);
    }

    #[test]
    fn a_holder_that_hands_off_waits_until_another_thread_has_had_the_lock() {
        let handoff = Handoff::new();
        let (asked, has_had) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Only once the holder waits for it.
                handoff.acquire(|| eventually(|| asked.load(Ordering::SeqCst) > 1));
                has_had.store(true, Ordering::SeqCst);
            });
            eventually(|| handoff.has_waiters());
            let start = Instant::now();
            let may_wait = || {
                asked.fetch_add(1, Ordering::SeqCst);
                start.elapsed() < DEADLINE
            };
            let generation = handoff.generation();
            handoff.hand_off(|| (), may_wait, || assert!(handoff.generation() > generation));
        });
        assert!(has_had.into_inner());
    }

    #[test]
    fn a_holder_that_hands_off_to_nobody_takes_the_lock_back_at_once() {
        let handoff = Handoff::new();
        let steps = Mutex::new(Vec::new());
        let step = |what| steps.lock().push(what);
        handoff.hand_off(|| step("released"), || panic!("it waits"), || step("taken"));
        assert_eq!(*steps.lock(), ["released", "taken"]);
    }
}
