//! Waiting for the next job: spin a little, then sleep.
//!
//! Putting a thread to sleep and waking it costs 5 to 20 µs; a job that follows at once would pay for
//! both. So the thread looks around for a moment first. Not when it is pointless: after spins in
//! vain it spins less and less, and while as many contexts spin as there are cores to spare it
//! doesn't spin at all.
//!
//! In vain is also what keeps away what is waited for. On a busy machine the kernel may put the
//! scheduler's thread that is to answer on this thread's own core, where it runs only once this one
//! sleeps, and leave it there. Then the answer comes soon after the spin, however short that is.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

static SPINNING: AtomicUsize = AtomicUsize::new(0);

/// A spin shorter than this is none.
const LEAST: Duration = Duration::from_micros(1);
/// After so many short waits without a spin another one is tried.
const RESTS: u32 = 16;

/// How long to spin, learnt from the last waits.
#[derive(Debug)]
pub(crate) struct Spin {
    most: Duration,
    now: Duration,
    /// Short waits since a spin was worth trying.
    rests: u32,
}

/// What became of a spin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spun {
    Found,
    InVain,
    /// None was due, or others spin.
    Not,
}

impl Spin {
    pub(crate) fn new(most: Duration) -> Self {
        Spin { most, now: most, rests: 0 }
    }

    /// Returns once `ready` says so or `sleep`, which waits for the same thing, returns.
    pub(crate) fn wait_until(&mut self, ready: impl Fn() -> bool, sleep: impl FnOnce()) {
        let start = Instant::now();
        let spun = self.spin(start, &ready);
        if spun != Spun::Found {
            sleep();
        }
        self.learn(spun, || start.elapsed());
    }

    fn learn(&mut self, spun: Spun, waited: impl FnOnce() -> Duration) {
        match spun {
            Spun::Found => self.now = self.most,
            Spun::InVain => {
                let less = self.now / 2;
                self.now = if less < LEAST { Duration::ZERO } else { less };
                self.rests = 0;
            }
            Spun::Not if self.now.is_zero() && waited() < self.most * 2 => {
                self.rests += 1;
                if self.rests == RESTS {
                    self.now = self.most;
                }
            }
            Spun::Not => (),
        }
    }

    fn spin(&self, start: Instant, ready: &impl Fn() -> bool) -> Spun {
        if ready() {
            return Spun::Found;
        }
        if self.now.is_zero() {
            return Spun::Not;
        }
        if SPINNING.fetch_add(1, Ordering::Relaxed) >= spare_cores() {
            SPINNING.fetch_sub(1, Ordering::Relaxed);
            return Spun::Not;
        }
        let mut found = false;
        while !found && start.elapsed() < self.now {
            std::hint::spin_loop();
            found = ready();
        }
        SPINNING.fetch_sub(1, Ordering::Relaxed);
        if found { Spun::Found } else { Spun::InVain }
    }
}

/// Half the cores, at least one: the others are for the schedulers whose calls we wait for.
fn spare_cores() -> usize {
    static SPARE: OnceLock<usize> = OnceLock::new();
    *SPARE.get_or_init(|| {
        std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_micros(20);

    fn after(spins: &[(Spun, u64)]) -> Duration {
        let mut spin = Spin::new(MOST);
        for (spun, waited) in spins {
            spin.learn(*spun, || Duration::from_micros(*waited));
        }
        spin.now
    }

    #[test]
    fn spins_in_vain_get_shorter_until_there_is_none() {
        assert_eq!(after(&[(Spun::InVain, 25)]), MOST / 2);
        assert_eq!(after(&[(Spun::InVain, 25); 5]), Duration::ZERO);
        assert_eq!(after(&[(Spun::InVain, 25), (Spun::InVain, 25), (Spun::Found, 1)]), MOST);
    }

    #[test]
    fn after_some_short_waits_another_spin_is_tried() {
        let vain = [(Spun::InVain, 25); 5];
        let rests = |waited, many| after(&[&vain[..], &vec![(Spun::Not, waited); many]].concat());
        assert_eq!(rests(8, 15), Duration::ZERO);
        assert_eq!(rests(8, 16), MOST);
        assert_eq!(rests(1000, 100), Duration::ZERO);
    }

    #[test]
    fn others_that_spin_teach_nothing() {
        assert_eq!(after(&[(Spun::Not, 25); 100]), MOST);
    }

    #[test]
    fn who_never_spins_sleeps() {
        let mut spin = Spin::new(Duration::ZERO);
        let mut slept = 0;
        for _ in 0..50 {
            spin.wait_until(|| false, || slept += 1);
        }
        assert_eq!((slept, spin.now), (50, Duration::ZERO));
    }
}
