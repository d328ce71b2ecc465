//! A start that fails in an interpreter which another context has had before: is it that interpreter's fault?
//!
//! It is tried once more in a new interpreter. If that works, the first one is ended; if not, it goes back
//! to those that are kept.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Context, StartError};
use crate::interpreter::{Interpreter, Vacant};
use crate::job::Job;
use crate::mode::Mode;
use crate::spare;

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
            spare::put(vacant);
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
            && spare::is_worth_a_new_one(self.preload_hash())
    }

    /// The context serves.
    pub(super) fn has_started(&self, suspect: Option<Suspect>) {
        if spare::KEPT && self.config.mode != Mode::Worker {
            spare::has_started(self.preload_hash());
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
