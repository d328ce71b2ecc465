//! The quarantine: threads that are stuck in C code and have been abandoned, counted per pool.
//!
//! Nothing ends such a thread but its own return. So that they don't pile up, a quarantine has a
//! limit, and while it is full its contexts take no new work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The count of one pool, or of all contexts that are in none.
#[derive(Debug)]
pub struct Quarantine {
    stuck: AtomicUsize,
    limit: usize,
}

impl Quarantine {
    /// An empty one.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Quarantine { stuck: AtomicUsize::new(0), limit }
    }

    /// Threads that are stuck.
    #[must_use]
    pub fn stuck(&self) -> usize {
        self.stuck.load(Ordering::Relaxed)
    }

    /// The number from which on no new work is taken.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether the limit is reached.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.stuck() >= self.limit
    }
}

/// Whether a thread is counted in its quarantine.
#[derive(Debug, Default)]
pub(crate) enum Membership {
    /// It isn't stuck.
    #[default]
    Outside,
    /// It is.
    Inside(#[expect(dead_code, reason = "a guard")] QuarantineGuard),
    /// It has ended, and isn't counted, however late it is found stuck.
    Ended,
}

impl Membership {
    /// Counts the thread, once, unless it has ended.
    pub(crate) fn enter(&mut self, quarantine: &Arc<Quarantine>, own: &Arc<AtomicUsize>) {
        if let Membership::Outside = self {
            *self = Membership::Inside(QuarantineGuard::new(quarantine, own));
        }
    }
}

/// A stuck thread, counted as long as this exists: in its quarantine, and with its context's
/// process.
#[derive(Debug)]
pub(crate) struct QuarantineGuard {
    quarantine: Arc<Quarantine>,
    own: Arc<AtomicUsize>,
}

impl QuarantineGuard {
    fn new(quarantine: &Arc<Quarantine>, own: &Arc<AtomicUsize>) -> Self {
        quarantine.stuck.fetch_add(1, Ordering::Relaxed);
        own.fetch_add(1, Ordering::Relaxed);
        QuarantineGuard { quarantine: Arc::clone(quarantine), own: Arc::clone(own) }
    }
}

impl Drop for QuarantineGuard {
    fn drop(&mut self) {
        self.quarantine.stuck.fetch_sub(1, Ordering::Relaxed);
        self.own.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn a_stuck_thread_is_counted_once_and_until_it_ends() {
        let (quarantine, own) = (Arc::new(Quarantine::new(2)), Arc::default());
        let counts = || (quarantine.stuck(), AtomicUsize::load(&own, Ordering::Relaxed));
        let [mut one, mut other] = [Membership::default(), Membership::default()];
        for _ in 0..2 {
            one.enter(&quarantine, &own);
            assert_eq!((counts(), quarantine.is_full()), ((1, 1), false));
        }
        other.enter(&quarantine, &own);
        assert_eq!((counts(), quarantine.is_full()), ((2, 2), true));
        one = Membership::Ended;
        one.enter(&quarantine, &own);
        assert_eq!((counts(), quarantine.is_full()), ((1, 1), false));
        drop(other);
        assert_eq!((counts(), quarantine.limit()), ((0, 0), 2));
    }
}
