//! The level of `logger`, as it was last reported.
//!
//! Severities are those of syslog, from 0 (emergency) to 7 (debug), by which `logger` compares its
//! levels too.

use std::sync::atomic::{AtomicI64, Ordering};

/// The least severe level that passes: -1 for none. `logger` starts with notice.
static LEVEL: AtomicI64 = AtomicI64::new(5);

/// Whether an event may pass.
pub(crate) fn allows(severity: i64) -> bool {
    severity <= LEVEL.load(Ordering::Relaxed)
}

/// The level as Python's `logging` numbers its own. Between them it has 25 for notice.
pub(crate) fn for_python() -> i64 {
    match LEVEL.load(Ordering::Relaxed) {
        // Nothing that Python logs is more than critical.
        ..=1 => 100,
        2 => 50,
        3 => 40,
        4 => 30,
        5 => 25,
        6 => 20,
        7 => 10,
        _ => 1,
    }
}

/// Sets the least severe level that passes: -1 for none. `false`: it is no level.
pub(crate) fn set(severity: i64) -> bool {
    let is_level = (-1..=8).contains(&severity);
    if is_level {
        LEVEL.store(severity, Ordering::Relaxed);
    }
    is_level
}
