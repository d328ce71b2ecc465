//! Objects of a context that somebody outside holds on to, by number.
//!
//! An object may not leave its thread, so it stays here, in its context, and whoever wants it later
//! has a [`Held`]. Dropping that, on whatever thread, sends the number to the context's mailbox; the
//! context thread lets go of the object. When the context ends, all go with it.

use std::sync::Arc;

use parking_lot::Mutex;
use slab::Slab;

use crate::context::Context;
use crate::escape::Escaped;
use crate::job::Job;
use crate::mode::Mode;
use crate::object::{Attached, Object};

/// The objects of one context that are held.
#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    objects: Slab<Escaped>,
    /// The context has ended: nothing is held any more, and nothing ever will be.
    ended: bool,
}

impl Holds {
    /// # Errors
    /// The object, when the context has ended.
    fn add(&self, object: Object) -> Result<usize, Object> {
        let mut table = self.0.lock();
        if table.ended { Err(object) } else { Ok(table.objects.insert(Escaped::new(object))) }
    }

    /// # Safety
    /// The thread is attached to the context's interpreter.
    unsafe fn get(&self, at: Attached<'_>, number: usize) -> Option<Object> {
        // SAFETY: passed on to the caller. Taking a reference runs no Python code.
        self.0.lock().objects.get(number).map(|object| unsafe { object.borrow(at) })
    }

    /// Takes one out, to be dropped without the lock: that runs Python code.
    pub(crate) fn remove(&self, number: usize) -> Option<Escaped> {
        self.0.lock().objects.try_remove(number)
    }

    /// Takes all out, for good.
    pub(crate) fn end(&self) -> Vec<Escaped> {
        let mut table = self.0.lock();
        table.ended = true;
        std::mem::take(&mut table.objects).into_iter().map(|(_, object)| object).collect()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().objects.len()
    }
}

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
