//! The objects of one context that have handles, by id.

use parking_lot::Mutex;
use slab::Slab;

use crate::cpython::object::{Attached, Object};
use crate::cpython::unbound::Unbound;

/// The handle table of one context.
#[derive(Debug, Default)]
pub(crate) struct HandleTable(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    objects: Slab<Unbound>,
    /// The context has ended: there are no handles any more, and never will be.
    closed: bool,
}

impl HandleTable {
    /// # Errors
    /// The object, when the context has ended.
    pub(crate) fn add(&self, object: Object) -> Result<usize, Object> {
        let mut table = self.0.lock();
        if table.closed { Err(object) } else { Ok(table.objects.insert(object.unbind())) }
    }

    /// # Safety
    /// The thread is attached to the context's interpreter.
    pub(crate) unsafe fn get(&self, py: Attached<'_>, id: usize) -> Option<Object> {
        // SAFETY: as the caller vouches. Taking a reference runs no Python code.
        self.0.lock().objects.get(id).map(|object| unsafe { object.bind_copy(py) })
    }

    /// Removes one, to be dropped without the lock: that runs Python code.
    pub(crate) fn remove(&self, id: usize) -> Option<Unbound> {
        self.0.lock().objects.try_remove(id)
    }

    /// Removes all, for good.
    pub(crate) fn close(&self) -> Vec<Unbound> {
        let mut table = self.0.lock();
        table.closed = true;
        std::mem::take(&mut table.objects).into_iter().map(|(_, object)| object).collect()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().objects.len()
    }
}
