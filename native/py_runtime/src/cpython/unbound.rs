//! A Python reference parked outside its thread.

use std::ptr::NonNull;

use pyo3_ffi as ffi;

use crate::cpython::object::{Attached, Object};

/// An owned reference that may travel, but not be used: only the thread that owns its interpreter
/// can turn it back into an [`Object`]. Dropping one elsewhere would need the GIL, so it leaks
/// instead; whoever holds it hands it to its context's mailbox.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "dropping an escaped reference leaks the object"]
pub struct Escaped(NonNull<ffi::PyObject>);

// SAFETY: the pointer is only dereferenced by `recover`, whose caller vouches for thread and
// interpreter.
unsafe impl Send for Escaped {}
// SAFETY: as above; sharing gives no access.
unsafe impl Sync for Escaped {}

impl Escaped {
    /// Parks the reference.
    pub fn new(object: Object) -> Self {
        Escaped(NonNull::new(object.into_ptr()).expect("an Object is never null"))
    }

    /// Takes the reference back.
    ///
    /// # Safety
    /// The thread is attached to the interpreter that the object belongs to.
    #[must_use]
    pub unsafe fn recover(self, at: Attached<'_>) -> Object {
        // SAFETY: `new` gave up exactly this reference.
        unsafe { Object::from_owned(at, self.0.as_ptr()) }.expect("not null")
    }

    /// Another reference to the object, which stays parked.
    ///
    /// # Safety
    /// As for [`Escaped::recover`].
    #[must_use]
    pub unsafe fn borrow(&self, at: Attached<'_>) -> Object {
        // SAFETY: the parked reference keeps the object alive.
        unsafe { Object::from_borrowed(at, self.0.as_ptr()) }.expect("not null")
    }
}
