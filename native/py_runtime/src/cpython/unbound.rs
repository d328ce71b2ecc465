//! A Python reference outside its thread.

use std::ptr::NonNull;

use pyo3_ffi as ffi;

use crate::cpython::object::{Attached, Object};

/// An owned reference that may be sent to another thread, but not used there (PyO3: `Py<T>`). Only
/// the thread that owns its interpreter can turn it back into an [`Object`]. Dropping one would
/// need the GIL, so it leaks instead: the owner sends it to its context's mailbox.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "dropping an unbound reference leaks the object"]
pub struct Unbound(NonNull<ffi::PyObject>);

// SAFETY: the pointer is only dereferenced by `bind`, whose caller vouches for thread and
// interpreter.
unsafe impl Send for Unbound {}
// SAFETY: as above; sharing gives no access.
unsafe impl Sync for Unbound {}

impl Object {
    /// Detaches the reference from its thread.
    pub(crate) fn unbind(self) -> Unbound {
        Unbound(NonNull::new(self.into_ptr()).expect("an Object is never null"))
    }
}

impl Unbound {
    /// Takes the reference back.
    ///
    /// # Safety
    /// The thread is attached to the interpreter that the object belongs to.
    #[must_use]
    pub unsafe fn bind(self, py: Attached<'_>) -> Object {
        // SAFETY: `unbind` has taken exactly this reference.
        unsafe { Object::from_owned(py, self.0.as_ptr()) }.expect("not null")
    }

    /// Another reference to the object, as one that this thread can use.
    ///
    /// # Safety
    /// As for [`Unbound::bind`].
    #[must_use]
    pub unsafe fn bind_copy(&self, py: Attached<'_>) -> Object {
        // SAFETY: the unbound reference keeps the object alive.
        unsafe { Object::from_borrowed(py, self.0.as_ptr()) }.expect("not null")
    }
}
