//! Handles: objects of a context that code outside keeps alive, by id.
//!
//! An object may not leave its thread, so it stays in its context's handle
//! table, and a user outside has a [`Handle`]. Dropping that, on any thread,
//! sends the id to the context's mailbox, and the context thread drops the object. When the context
//! ends, all objects go with it.

use std::sync::Arc;

use super::Context;
use super::job::Job;
use crate::cpython::object::{Attached, Object};
use crate::interpreter::mode::Mode;

/// An object that is kept alive in its context as long as this lives, or until the context ends.
#[derive(Debug)]
pub struct Handle<J: Job> {
    context: Arc<Context<J>>,
    id: usize,
}

impl<J: Job> Handle<J> {
    /// A handle of an object of the context's interpreter. `None`: the context has ended.
    pub fn new(context: &Arc<Context<J>>, object: Object) -> Option<Self> {
        let id = context.handles().add(object).ok()?;
        Some(Handle { context: Arc::clone(context), id })
    }

    /// The context that it belongs to.
    pub fn context(&self) -> &Arc<Context<J>> {
        &self.context
    }

    /// Whether the object lives in the interpreter of `context`: its own, or the main one that all
    /// workers share.
    pub fn is_usable_in(&self, context: &Arc<Context<J>>) -> bool {
        Arc::ptr_eq(&self.context, context)
            || (self.context.mode() == Mode::Worker && context.mode() == Mode::Worker)
    }

    /// The object. `None`: its context has ended.
    ///
    /// # Safety
    /// The thread is attached to the interpreter of a context that it [is usable
    /// in](Handle::is_usable_in).
    #[must_use]
    pub unsafe fn get(&self, py: Attached<'_>) -> Option<Object> {
        // SAFETY: as the caller vouches.
        unsafe { self.context.handles().get(py, self.id) }
    }
}

impl<J: Job> Drop for Handle<J> {
    fn drop(&mut self) {
        self.context.release_handle(self.id);
    }
}
