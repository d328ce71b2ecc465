//! A start that fails in an interpreter which another context has used before: is that the cause?
//!
//! The start is tried once more in a new interpreter. If that works, the first one is ended. If
//! not, it is parked again.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use parking_lot::Mutex;

use super::job::Job;
use super::{Context, StartError};
use crate::interpreter::Interpreter;
use crate::interpreter::mode::Mode;
use crate::interpreter::parked::{self, ParkedInterpreter};
use crate::interpreter::reset;

/// An interpreter in which a context couldn't start, if it could be reset. It is parked again when
/// this is dropped, unless it is found to be the cause.
pub(super) struct FailedStart(Option<ParkedInterpreter>);

impl FailedStart {
    /// The interpreter that a context has just failed to start in, whose thread goes on without it.
    pub(super) fn new(interpreter: Interpreter) -> Self {
        FailedStart(interpreter.end_or_park())
    }

    /// The context has started in another one: this one was the cause.
    fn end(mut self) {
        if let Some(parked) = self.0.take() {
            parked.end();
        }
    }
}

impl Drop for FailedStart {
    fn drop(&mut self) {
        if let Some(parked) = self.0.take() {
            parked::put(parked);
        }
    }
}

impl<J: Job> Context<J> {
    /// Counts a start that has failed in a reused interpreter, and returns whether to try again in
    /// a new one. Not if there are handles or exports of this one, by a function that the preload
    /// has called.
    pub(super) fn should_retry_start(&self, started: &Result<(), StartError>) -> bool {
        matches!(started, Err(StartError::Python(_)))
            && !self.mailbox.is_closed()
            && self.handles.count() == 0
            && self.exports.count() == 0
            && count_failure(self.preload_hash())
    }

    /// The context serves.
    pub(super) fn note_started(&self, failed: Option<FailedStart>) {
        if reset::REUSES_INTERPRETERS && self.config.mode != Mode::Worker {
            forget_failures(self.preload_hash());
        }
        if let Some(failed) = failed {
            failed.end();
        }
    }

    fn preload_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.config.preload.hash(&mut hasher);
        hasher.finish()
    }
}

/// How often in a row contexts with a certain preload have failed to start in reused interpreters,
/// by the preload's hash.
static FAILURES: Mutex<Option<HashMap<u64, u32>>> = Mutex::new(None);
/// If more preloads than that fail, counting begins anew.
const MAX_COUNTED: usize = 1000;

/// Counts a context with this preload that has failed to start in a reused interpreter. Returns
/// whether to try a new one. Each that is made is kept, so a preload which never works must not
/// make one every time: the first failure in a row makes one, then the second, fourth, eighth ...
fn count_failure(preload: u64) -> bool {
    let mut failures = FAILURES.lock();
    let failures = failures.get_or_insert_default();
    if failures.len() >= MAX_COUNTED {
        failures.clear();
    }
    let count = failures.entry(preload).or_default();
    *count = count.saturating_add(1);
    count.is_power_of_two()
}

/// A context with this preload has started.
fn forget_failures(preload: u64) {
    if let Some(failures) = &mut *FAILURES.lock() {
        failures.remove(&preload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preload_that_never_works_takes_a_new_interpreter_ever_less_often() {
        let failures = (1..=100).filter(|_| count_failure(1)).count();
        assert_eq!(failures, 7);
        forget_failures(1);
        assert!(count_failure(1));
        assert!(count_failure(2), "one doesn't count for another");
    }
}
