//! The application's settings, read once when it starts.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

static MAX_DEPTH: AtomicU32 = AtomicU32::new(1000);
static SPIN_US: AtomicU32 = AtomicU32::new(20);

/// Takes over what the application environment says.
pub(crate) fn set(max_depth: u32, spin_us: u32) {
    MAX_DEPTH.store(max_depth, Ordering::Relaxed);
    SPIN_US.store(spin_us, Ordering::Relaxed);
}

/// How deep a value may be nested.
pub(crate) fn max_depth() -> u32 {
    MAX_DEPTH.load(Ordering::Relaxed)
}

/// How long an idle context spins before it sleeps.
pub(crate) fn spin() -> Duration {
    Duration::from_micros(u64::from(SPIN_US.load(Ordering::Relaxed)))
}
