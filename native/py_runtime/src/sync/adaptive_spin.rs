//! Waiting for the next job: spin a little, then sleep.
//!
//! Putting a thread to sleep and waking it costs 5 to 20 µs; a job that follows at once would pay
//! for both. So the thread spins for a moment first. After spins that find nothing it spins less
//! and less, and it doesn't spin while as many contexts spin as half the cores.
//!
//! Spinning can delay the job: on a busy machine the kernel may have queued the scheduler's thread
//! that is to send it on this core, where it runs only once this thread sleeps, and leave it there.
//! Then the job comes soon after the spin, however short that is. So after failed spins we retry
//! rarely, and less often after each that fails.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

static SPINNING: AtomicUsize = AtomicUsize::new(0);

/// A spin shorter than this is not worth it.
const MIN_SPIN: Duration = Duration::from_micros(1);
/// After so many short waits without a spin one is tried again, and after twice as many each time
/// that it fails, up to the maximum.
const FIRST_RETRY_AFTER: u32 = 16;
const MAX_RETRY_AFTER: u32 = 512;

/// How long to spin, adapted to the last waits.
#[derive(Debug)]
pub(crate) struct AdaptiveSpin {
    max: Duration,
    limit: Duration,
    /// Short waits since the last spin.
    sleeps: u32,
    /// A spin is tried again after so many.
    retry_after: u32,
}

/// The result of a spin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SpinResult {
    Found,
    TimedOut,
    /// None was due, or other contexts spin.
    Skipped,
}

impl AdaptiveSpin {
    pub(crate) fn new(max: Duration) -> Self {
        AdaptiveSpin { max, limit: max, sleeps: 0, retry_after: FIRST_RETRY_AFTER }
    }

    /// Returns once `ready` returns `true` or `sleep`, which waits for the same thing, returns.
    pub(crate) fn wait_until(&mut self, ready: impl Fn() -> bool, sleep: impl FnOnce()) {
        let start = Instant::now();
        let spun = self.spin(start, &ready);
        if spun != SpinResult::Found {
            sleep();
        }
        self.adapt(spun, || start.elapsed());
    }

    fn adapt(&mut self, spun: SpinResult, waited: impl FnOnce() -> Duration) {
        match spun {
            SpinResult::Found => *self = AdaptiveSpin::new(self.max),
            SpinResult::TimedOut if self.sleeps == self.retry_after => {
                self.limit = Duration::ZERO;
                self.sleeps = 0;
                self.retry_after = (self.retry_after * 2).min(MAX_RETRY_AFTER);
            }
            SpinResult::TimedOut => {
                let less = self.limit / 2;
                self.limit = if less < MIN_SPIN { Duration::ZERO } else { less };
            }
            SpinResult::Skipped if self.limit.is_zero() && waited() < self.max * 2 => {
                self.sleeps += 1;
                if self.sleeps == self.retry_after {
                    self.limit = self.max;
                }
            }
            SpinResult::Skipped => (),
        }
    }

    fn spin(&self, start: Instant, ready: &impl Fn() -> bool) -> SpinResult {
        if ready() {
            return SpinResult::Found;
        }
        if self.limit.is_zero() {
            return SpinResult::Skipped;
        }
        if SPINNING.fetch_add(1, Ordering::Relaxed) >= max_spinners() {
            SPINNING.fetch_sub(1, Ordering::Relaxed);
            return SpinResult::Skipped;
        }
        let mut found = false;
        while !found && start.elapsed() < self.limit {
            std::hint::spin_loop();
            found = ready();
        }
        SPINNING.fetch_sub(1, Ordering::Relaxed);
        if found { SpinResult::Found } else { SpinResult::TimedOut }
    }
}

/// Half the cores, at least one: the others are for the schedulers that send the jobs.
fn max_spinners() -> usize {
    static MAX: OnceLock<usize> = OnceLock::new();
    *MAX.get_or_init(|| {
        std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_micros(20);

    fn after(spins: &[(SpinResult, u64)]) -> Duration {
        let mut spin = AdaptiveSpin::new(MAX);
        for (spun, waited) in spins {
            spin.adapt(*spun, || Duration::from_micros(*waited));
        }
        spin.limit
    }

    #[test]
    fn spins_that_fail_get_shorter_until_there_is_none() {
        assert_eq!(after(&[(SpinResult::TimedOut, 25)]), MAX / 2);
        assert_eq!(after(&[(SpinResult::TimedOut, 25); 5]), Duration::ZERO);
        assert_eq!(
            after(&[
                (SpinResult::TimedOut, 25),
                (SpinResult::TimedOut, 25),
                (SpinResult::Found, 1)
            ]),
            MAX
        );
    }

    #[test]
    fn after_some_short_waits_another_spin_is_tried() {
        let failed = [(SpinResult::TimedOut, 25); 5];
        let waits = |waited, many| {
            after(&[&failed[..], &vec![(SpinResult::Skipped, waited); many]].concat())
        };
        assert_eq!(waits(8, 15), Duration::ZERO);
        assert_eq!(waits(8, 16), MAX);
        assert_eq!(waits(1000, 100), Duration::ZERO);
    }

    #[test]
    fn a_retry_that_fails_is_tried_less_often_until_one_finds_something() {
        let mut spins = vec![(SpinResult::TimedOut, 25); 5];
        for sleeps in [16, 32, 64, 128, 256, 512, 512] {
            spins.extend(vec![(SpinResult::Skipped, 8); sleeps - 1]);
            assert_eq!(after(&spins), Duration::ZERO);
            spins.push((SpinResult::Skipped, 8));
            assert_eq!(after(&spins), MAX);
            spins.push((SpinResult::TimedOut, 25));
        }
        spins.extend(vec![(SpinResult::Skipped, 8); 512]);
        spins.push((SpinResult::Found, 1));
        spins.extend([(SpinResult::TimedOut, 25); 5]);
        assert_eq!(after(&spins), Duration::ZERO);
        spins.extend([(SpinResult::Skipped, 8); 16]);
        assert_eq!(after(&spins), MAX);
    }

    #[test]
    fn spins_that_are_skipped_change_nothing() {
        assert_eq!(after(&[(SpinResult::Skipped, 25); 100]), MAX);
    }

    #[test]
    fn without_a_spin_time_it_sleeps() {
        let mut spin = AdaptiveSpin::new(Duration::ZERO);
        let mut slept = 0;
        for _ in 0..50 {
            spin.wait_until(|| false, || slept += 1);
        }
        assert_eq!((slept, spin.limit), (50, Duration::ZERO));
    }

    #[test]
    fn a_spin_of_the_least_length_is_made_and_no_wait_that_is_too_long_counts() {
        let mut spin = AdaptiveSpin::new(2 * MIN_SPIN);
        spin.adapt(SpinResult::TimedOut, Duration::default);
        assert_eq!(spin.limit, MIN_SPIN);
        let failed = [(SpinResult::TimedOut, 25); 5];
        let waits = |waited| after(&[&failed[..], &[(SpinResult::Skipped, waited); 16]].concat());
        assert_eq!([waits(39), waits(40)], [MAX, Duration::ZERO]);
    }

    #[test]
    fn as_many_spin_as_may_and_each_until_it_finds_something_or_its_time_is_over() {
        let spin = AdaptiveSpin::new(Duration::from_millis(5));
        let spins = |ready: &dyn Fn() -> bool| spin.spin(Instant::now(), &ready);
        assert_eq!(spins(&|| true), SpinResult::Found);
        let start = Instant::now();
        assert_eq!(spins(&|| false), SpinResult::TimedOut);
        assert!(start.elapsed() >= spin.limit);
        let asked = AtomicUsize::new(0);
        let long = AdaptiveSpin::new(Duration::from_secs(60));
        let found = long.spin(Instant::now(), &|| asked.fetch_add(1, Ordering::Relaxed) == 1);
        assert_eq!(found, SpinResult::Found);
        let cores = std::thread::available_parallelism().unwrap().get();
        assert_eq!(max_spinners(), (cores / 2).max(1));
        SPINNING.fetch_add(max_spinners(), Ordering::Relaxed);
        assert_eq!(spins(&|| false), SpinResult::Skipped);
        SPINNING.fetch_sub(max_spinners(), Ordering::Relaxed);
    }
}
