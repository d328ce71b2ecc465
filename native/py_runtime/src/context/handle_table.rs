//! The objects of one context that somebody outside holds on to, by number.

use parking_lot::Mutex;
use slab::Slab;

use crate::cpython::object::{Attached, Object};
use crate::cpython::unbound::Escaped;

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
    pub(crate) fn add(&self, object: Object) -> Result<usize, Object> {
        let mut table = self.0.lock();
        if table.ended { Err(object) } else { Ok(table.objects.insert(Escaped::new(object))) }
    }

    /// # Safety
    /// The thread is attached to the context's interpreter.
    pub(crate) unsafe fn get(&self, at: Attached<'_>, number: usize) -> Option<Object> {
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
