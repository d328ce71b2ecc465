//! Waiting for the next job: spin a little, then sleep.
//!
//! Putting a thread to sleep and waking it costs 15 to 20 µs; a job that follows at once would
//! pay for both. So the thread looks around for a moment first. Not when it is pointless: after
//! waits that outlasted the spin it spins less and less, and while as many contexts spin as there
//! are cores to spare it doesn't spin at all.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

static SPINNING: AtomicUsize = AtomicUsize::new(0);

/// How long to spin, learnt from the last waits.
#[derive(Debug)]
pub(crate) struct Spin {
    most: Duration,
    now: Duration,
}

impl Spin {
    pub(crate) fn new(most: Duration) -> Self {
        Spin { most, now: most }
    }

    /// Returns once `ready` says so or `sleep`, which waits for the same thing, returns.
    pub(crate) fn wait_until(&mut self, ready: impl Fn() -> bool, sleep: impl FnOnce()) {
        let start = Instant::now();
        if self.spin(start, &ready) {
            self.now = self.most;
            return;
        }
        sleep();
        // A wait only a little longer than the spin is worth spinning for again; a long one isn't.
        let short = start.elapsed() < self.most * 2;
        self.now = if short { self.most } else { self.now / 2 };
    }

    fn spin(&self, start: Instant, ready: &impl Fn() -> bool) -> bool {
        if ready() {
            return true;
        }
        if self.now.is_zero() || SPINNING.fetch_add(1, Ordering::Relaxed) >= spare_cores() {
            if !self.now.is_zero() {
                SPINNING.fetch_sub(1, Ordering::Relaxed);
            }
            return false;
        }
        let mut found = false;
        while !found && start.elapsed() < self.now {
            std::hint::spin_loop();
            found = ready();
        }
        SPINNING.fetch_sub(1, Ordering::Relaxed);
        found
    }
}

/// Half the cores, at least one: the others are for the schedulers whose calls we wait for.
fn spare_cores() -> usize {
    static SPARE: OnceLock<usize> = OnceLock::new();
    *SPARE.get_or_init(|| {
        std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
    })
}
