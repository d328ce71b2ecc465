//! Objects of a context that somebody outside holds on to, by number.
//!
//! An object may not leave its thread, so it stays here, in its context, and whoever wants it later
//! has a [`Held`]. Dropping that, on whatever thread, sends the number to the context's mailbox; the
//! context thread lets go of the object. When the context ends, all go with it.

use std::sync::Arc;

use crate::context::Context;
use crate::context::job::Job;
use crate::cpython::object::{Attached, Object};
use crate::interpreter::mode::Mode;

/// An object that is kept alive in its context as long as this lives, or until the context ends.
#[derive(Debug)]
pub struct Held<J: Job> {
    context: Arc<Context<J>>,
    number: usize,
}

impl<J: Job> Held<J> {
    /// Holds an object of the context's interpreter. `None`: the context has ended.
    pub fn new(context: &Arc<Context<J>>, object: Object) -> Option<Self> {
        let number = context.holds().add(object).ok()?;
        Some(Held { context: Arc::clone(context), number })
    }

    /// The context that it belongs to.
    pub fn context(&self) -> &Arc<Context<J>> {
        &self.context
    }

    /// Whether the object lives in the interpreter of `context`: its own, or the main one that all
    /// workers share.
    pub fn is_at_home_in(&self, context: &Arc<Context<J>>) -> bool {
        Arc::ptr_eq(&self.context, context)
            || (self.context.mode() == Mode::Worker && context.mode() == Mode::Worker)
    }

    /// The object. `None`: its context has ended.
    ///
    /// # Safety
    /// The thread is attached to the interpreter of a context that it [is at home
    /// in](Held::is_at_home_in).
    #[must_use]
    pub unsafe fn get(&self, at: Attached<'_>) -> Option<Object> {
        // SAFETY: passed on to the caller.
        unsafe { self.context.holds().get(at, self.number) }
    }
}

impl<J: Job> Drop for Held<J> {
    fn drop(&mut self) {
        self.context.release_hold(self.number);
    }
}
