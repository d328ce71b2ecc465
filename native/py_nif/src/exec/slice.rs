//! How long one job goes on with the next of many items, before others have their turn.

use std::time::{Duration, Instant};

use crate::thread::host::Host;

/// How long a job goes on.
pub(super) const MAX_SLICE: Duration = Duration::from_millis(1);
/// How long while others wait: then contexts that share a GIL hand it off, too.
const MAX_SLICE_WITH_WAITERS: Duration = Duration::from_micros(200);
/// After so many items the clock is read. While others wait it is read after each.
const ITEMS_PER_READING: u32 = 8;

/// The time of one job.
pub(super) struct Slice {
    began: Instant,
    items: u32,
}

impl Slice {
    pub(super) fn begin() -> Self {
        Slice { began: Instant::now(), items: 0 }
    }

    /// How long it has lasted.
    pub(super) fn lasted(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether others are to have their turn. Called after each item.
    pub(super) fn is_over(&mut self, host: &dyn Host) -> bool {
        self.items = self.items.wrapping_add(1);
        let is_waited_for = host.is_waited_for();
        if !is_waited_for && !self.items.is_multiple_of(ITEMS_PER_READING) {
            return false;
        }
        self.lasted() > if is_waited_for { MAX_SLICE_WITH_WAITERS } else { MAX_SLICE }
    }
}
