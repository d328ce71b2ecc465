//! Threads that are stuck in C code and have been left to themselves, counted per pool.
//!
//! Nothing ends such a thread but its own return. So that they don't pile up, a ward has a limit,
//! and while it is full its contexts take no new work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The count of one pool, or of all contexts that are in none.
#[derive(Debug)]
pub struct Ward {
    stuck: AtomicUsize,
    limit: usize,
}

impl Ward {
    /// An empty one.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Ward { stuck: AtomicUsize::new(0), limit }
    }

    /// Threads that are stuck.
    #[must_use]
    pub fn stuck(&self) -> usize {
        self.stuck.load(Ordering::Relaxed)
    }

    /// From how many on no new work is taken.
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

/// A thread's place in its ward.
#[derive(Debug, Default)]
pub(crate) enum Bed {
    /// It isn't stuck.
    #[default]
    Free,
    /// It is.
    Taken(#[expect(dead_code, reason = "held for its count")] Patient),
    /// It has ended, and isn't counted any more however late it is found stuck.
    Gone,
}

impl Bed {
    /// Counts the thread, once, unless it has ended.
    pub(crate) fn take(&mut self, ward: &Arc<Ward>, own: &Arc<AtomicUsize>) {
        if let Bed::Free = self {
            *self = Bed::Taken(Patient::admit(ward, own));
        }
    }
}

/// A stuck thread, counted as long as this exists: in its ward, and with its context's process.
#[derive(Debug)]
pub(crate) struct Patient {
    ward: Arc<Ward>,
    own: Arc<AtomicUsize>,
}

impl Patient {
    fn admit(ward: &Arc<Ward>, own: &Arc<AtomicUsize>) -> Self {
        ward.stuck.fetch_add(1, Ordering::Relaxed);
        own.fetch_add(1, Ordering::Relaxed);
        Patient { ward: Arc::clone(ward), own: Arc::clone(own) }
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        self.ward.stuck.fetch_sub(1, Ordering::Relaxed);
        self.own.fetch_sub(1, Ordering::Relaxed);
    }
}
