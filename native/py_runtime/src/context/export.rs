//! Exports: memory of Python objects that code outside reads without a copy.
//!
//! An [`Export`] is a buffer (PEP 3118) of an object, which it keeps alive and in place. The bytes
//! stay valid as long as it lives, also after its context has ended. Dropping one, on any thread,
//! sends it to the context's mailbox, or, after the end of its context, to its export
//! table.

use std::sync::Arc;

use super::Context;
use super::export_table::{PyBuffer, defer_release};
use super::job::Job;
use crate::cpython::object::{Attached, Object};

/// The bytes of an object, readable by anybody as long as this lives.
#[derive(Debug)]
pub struct Export<J: Job> {
    context: Arc<Context<J>>,
    /// Taken by the destructor only.
    buffer: Option<PyBuffer>,
}

impl<J: Job> Export<J> {
    /// Exports a contiguous buffer of `object`. `None`: it has none (an exception is set), or the
    /// context has ended (none is).
    ///
    /// # Safety
    /// The thread is attached to the context's interpreter, and nobody changes the object's bytes
    /// as long as the export lives.
    pub unsafe fn new(
        context: &Arc<Context<J>>,
        py: Attached<'_>,
        object: &Object,
    ) -> Option<Self> {
        if !context.exports().add() {
            return None;
        }
        let buffer = PyBuffer::get(py, object);
        if buffer.is_none() {
            context.exports().cancel_add();
        }
        Some(Export { context: Arc::clone(context), buffer: Some(buffer?) })
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], PyBuffer::bytes)
    }
}

impl<J: Job> Drop for Export<J> {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take()
            && let Err(buffer) = self.context.release_export(buffer)
        {
            defer_release(self.context.exports(), buffer);
        }
    }
}
