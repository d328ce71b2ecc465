//! A start that fails in an interpreter which another context has had before: is it that interpreter's fault?
//!
//! It is tried once more in a new interpreter. If that works, the first one is ended; if not, it goes back
//! to those that are kept.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use parking_lot::Mutex;

use super::{Context, StartError};
use crate::context::job::Job;
use crate::interpreter::Interpreter;
use crate::interpreter::mode::Mode;
use crate::interpreter::parked::{self, Vacant};
use crate::interpreter::reset;

/// An interpreter in which a context couldn't start, if it could be reset. Unless it is found to be at
/// fault it is used again.
pub(super) struct Suspect(Option<Vacant>);

impl Suspect {
    /// The interpreter that a context has just failed to start in, whose thread goes on without it.
    pub(super) fn new(interpreter: Interpreter) -> Self {
        Suspect(interpreter.reclaim())
    }

    /// The context has started in another one: it was this one's fault.
    fn end(mut self) {
        if let Some(vacant) = self.0.take() {
            vacant.end();
        }
    }
}

impl Drop for Suspect {
    fn drop(&mut self) {
        if let Some(vacant) = self.0.take() {
            parked::put(vacant);
        }
    }
}

impl<J: Job> Context<J> {
    /// Whether a start that has failed in a kept interpreter is tried again in a new one. Not when somebody
    /// outside has got hold of objects in this one, by a function that the preload has called.
    pub(super) fn is_worth_a_retry(&self, started: &Result<(), StartError>) -> bool {
        matches!(started, Err(StartError::Python(_)))
            && !self.mailbox.is_closed()
            && self.holds.count() == 0
            && self.exports.count() == 0
            && is_worth_a_new_one(self.preload_hash())
    }

    /// The context serves.
    pub(super) fn has_started(&self, suspect: Option<Suspect>) {
        if reset::KEPT && self.config.mode != Mode::Worker {
            has_started(self.preload_hash());
        }
        if let Some(suspect) = suspect {
            suspect.end();
        }
    }

    fn preload_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.config.preload.hash(&mut hasher);
        hasher.finish()
    }
}

/// How often in a row contexts with a certain preload have failed to start in kept interpreters, by the
/// hash of that.
static FAILURES: Mutex<Option<HashMap<u64, u32>>> = Mutex::new(None);
/// More preloads than that don't fail at once; if they do, counting begins anew.
const MOST_COUNTED: usize = 1000;

/// A context with this preload has failed to start in a kept interpreter. Whether to try a new one: each
/// that is made is kept, so that a preload which never works must not make one every time. The first
/// failure in a row is worth one, then the second, fourth, eighth ...
pub(crate) fn is_worth_a_new_one(preload: u64) -> bool {
    let mut failures = FAILURES.lock();
    let failures = failures.get_or_insert_default();
    if failures.len() >= MOST_COUNTED {
        failures.clear();
    }
    let count = failures.entry(preload).or_default();
    *count = count.saturating_add(1);
    count.is_power_of_two()
}

/// A context with this preload has started.
pub(crate) fn has_started(preload: u64) {
    if let Some(failures) = &mut *FAILURES.lock() {
        failures.remove(&preload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preload_that_never_works_takes_a_new_interpreter_ever_less_often() {
        let failures = (1..=100).filter(|_| is_worth_a_new_one(1)).count();
        assert_eq!(failures, 7);
        has_started(1);
        assert!(is_worth_a_new_one(1));
        assert!(is_worth_a_new_one(2), "one doesn't count for another");
    }
}
