//! Waiting for the next job: spin a little, then sleep.
//!
//! Putting a thread to sleep and waking it costs 5 to 20 µs; a job that follows at once would pay for
//! both. So the thread looks around for a moment first. Not when it is pointless: after spins in
//! vain it spins less and less, and while as many contexts spin as there are cores to spare it
//! doesn't spin at all.
//!
//! In vain is also what keeps away what is waited for. On a busy machine the kernel may put the
//! scheduler's thread that is to answer on this thread's own core, where it runs only once this one
//! sleeps, and leave it there. Then the answer comes soon after the spin, however short that is. So
//! whoever has given up spinning tries it again now and then, once, and less often each time that it
//! was in vain: who is waited for pays for each.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

static SPINNING: AtomicUsize = AtomicUsize::new(0);

/// A spin shorter than this is none.
const LEAST: Duration = Duration::from_micros(1);
/// After so many short waits without a spin another one is tried, and after twice as many each time
/// that it was in vain, but not more than so many.
const RESTS: u32 = 16;
const MOST_RESTS: u32 = 512;

/// How long to spin, learnt from the last waits.
#[derive(Debug)]
pub(crate) struct Spin {
    most: Duration,
    now: Duration,
    /// Short waits since a spin was worth trying.
    rests: u32,
    /// So many until it is again.
    enough_rests: u32,
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
        Spin { most, now: most, rests: 0, enough_rests: RESTS }
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
            Spun::Found => *self = Spin::new(self.most),
            Spun::InVain if self.rests == self.enough_rests => {
                self.now = Duration::ZERO;
                self.rests = 0;
                self.enough_rests = (self.enough_rests * 2).min(MOST_RESTS);
            }
            Spun::InVain => {
                let less = self.now / 2;
                self.now = if less < LEAST { Duration::ZERO } else { less };
            }
            Spun::Not if self.now.is_zero() && waited() < self.most * 2 => {
                self.rests += 1;
                if self.rests == self.enough_rests {
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
    fn a_spin_tried_again_in_vain_is_tried_less_often_until_one_finds_something() {
        let mut spins = vec![(Spun::InVain, 25); 5];
        for rests in [16, 32, 64, 128, 256, 512, 512] {
            spins.extend(vec![(Spun::Not, 8); rests - 1]);
            assert_eq!(after(&spins), Duration::ZERO);
            spins.push((Spun::Not, 8));
            assert_eq!(after(&spins), MOST);
            spins.push((Spun::InVain, 25));
        }
        spins.extend(vec![(Spun::Not, 8); 512]);
        spins.push((Spun::Found, 1));
        spins.extend([(Spun::InVain, 25); 5]);
        assert_eq!(after(&spins), Duration::ZERO);
        spins.extend([(Spun::Not, 8); 16]);
        assert_eq!(after(&spins), MOST);
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
