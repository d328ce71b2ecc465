//! Taking turns at what one thread at a time can hold, when whoever lets go of it and asks again at
//! once would nearly always get it back.
//!
//! Whoever waits is counted, and whoever has got it turns a generation, as its holder. A thread that
//! hands over stays away until the generation has turned: somebody else has had it then. Should
//! nobody be waiting any more there is nothing to stay away for.
//!
//! A thread that waits inside CPython wakes at each switch interval to ask the holder to let go: a thousand of
//! them keep all cores busy with that. So only a few wait there at a time. The others sleep outside, in the
//! order in which they came, each until one who was inside has had its turn.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, Thread, current, park, yield_now};

/// How many threads wait inside CPython at most: enough that one is ready whenever the holder lets go. In a
/// model of three threads one of them sleeps.
const MOST_INSIDE: usize = if cfg!(feature = "loom") { 2 } else { 4 };

/// Who waits, and whose turn it has been.
#[derive(Debug)]
pub struct Turns {
    waiters: AtomicUsize,
    generation: AtomicUsize,
    outside: Mutex<Outside>,
}

/// Those who may not wait inside yet.
#[derive(Debug)]
struct Outside {
    /// In the order in which they came.
    sleepers: VecDeque<Arc<Sleeper>>,
    /// How many have been admitted before they slept.
    admitted: usize,
}

#[derive(Debug)]
struct Sleeper {
    thread: Thread,
    is_admitted: AtomicBool,
}

impl Outside {
    const NOBODY: Self = Outside { sleepers: VecDeque::new(), admitted: 0 };
}

impl Turns {
    /// Nobody waits.
    #[cfg(not(feature = "loom"))]
    pub const fn new() -> Self {
        Turns {
            waiters: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
            outside: Mutex::new(Outside::NOBODY),
        }
    }

    /// Nobody waits.
    #[cfg(feature = "loom")]
    pub fn new() -> Self {
        Turns {
            waiters: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
            outside: Mutex::new(Outside::NOBODY),
        }
    }

    /// Waits for it by `get`, and is counted meanwhile.
    pub fn take(&self, get: impl FnOnce()) {
        if self.waiters.fetch_add(1, Ordering::SeqCst) >= MOST_INSIDE {
            self.sleep_outside();
        }
        get();
        self.generation.fetch_add(1, Ordering::SeqCst);
        if self.waiters.fetch_sub(1, Ordering::SeqCst) > MOST_INSIDE {
            self.admit_one();
        }
    }

    /// Sleeps until [`Turns::admit_one`] is called for this thread. There is one call for each sleep, in
    /// whichever order: the waiters are counted up and down by one atomic, which decides on both.
    #[cold]
    fn sleep_outside(&self) {
        let sleeper = Arc::new(Sleeper { thread: current(), is_admitted: AtomicBool::new(false) });
        {
            let mut outside = self.outside.lock();
            if outside.admitted > 0 {
                outside.admitted -= 1;
                return;
            }
            outside.sleepers.push_back(Arc::clone(&sleeper));
        }
        while !sleeper.is_admitted.load(Ordering::Acquire) {
            park();
        }
    }

    #[cold]
    fn admit_one(&self) {
        let mut outside = self.outside.lock();
        match outside.sleepers.pop_front() {
            None => outside.admitted += 1,
            Some(sleeper) => {
                drop(outside);
                sleeper.is_admitted.store(true, Ordering::Release);
                sleeper.thread.unpark();
            }
        }
    }

    /// Changes whenever somebody has got it.
    pub fn generation(&self) -> usize {
        self.generation.load(Ordering::Relaxed)
    }

    /// Whether anybody waits who is counted.
    pub fn are_wanted(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) > 0
    }

    /// Lets go by `let_go`, lets one who waits have it, or loses patience, and takes it again. By the
    /// holder.
    pub fn hand_over(
        &self,
        let_go: impl FnOnce(),
        patience: impl Fn() -> bool,
        get: impl FnOnce(),
    ) {
        let generation = self.generation.load(Ordering::SeqCst);
        let_go();
        while self.generation.load(Ordering::SeqCst) == generation
            && self.waiters.load(Ordering::SeqCst) > 0
            && patience()
        {
            yield_now();
        }
        self.take(get);
    }
}

impl Default for Turns {
    fn default() -> Self {
        Turns::new()
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn of_a_crowd_only_a_few_wait_inside_and_all_have_their_turn() {
        let (turns, inside) = (Turns::new(), AtomicUsize::new(0));
        let held = Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        turns.take(|| {
                            assert!(inside.fetch_add(1, Ordering::SeqCst) < MOST_INSIDE);
                            *held.lock() += 1;
                            inside.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                });
            }
        });
        assert_eq!(*held.lock(), 6400);
        assert!(!turns.are_wanted());
    }
}
