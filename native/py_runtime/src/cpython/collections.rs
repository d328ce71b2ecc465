//! Dictionaries, lists and tuples.
//!
//! An object of another type is refused by each call, which sets an exception then.

use std::ffi::CStr;

use pyo3_ffi as ffi;

use crate::cpython::object::{Attached, Object};

impl Object {
    /// An empty dictionary. `None`: exception set.
    #[inline]
    #[must_use]
    pub fn dict(py: Attached<'_>) -> Option<Self> {
        // SAFETY: attached; the result is null or new.
        unsafe { Self::from_owned(py, ffi::PyDict_New()) }
    }

    /// An empty list. `None`: exception set.
    #[must_use]
    pub fn list(py: Attached<'_>) -> Option<Self> {
        // SAFETY: attached; the result is null or new.
        unsafe { Self::from_owned(py, ffi::PyList_New(0)) }
    }

    /// A tuple. `None`: exception set.
    #[must_use]
    pub fn tuple<const N: usize>(py: Attached<'_>, items: [&Object; N]) -> Option<Self> {
        // SAFETY: attached; a new tuple of that length takes a reference to each item.
        unsafe {
            let tuple = Self::from_owned(py, ffi::PyTuple_New(N as ffi::Py_ssize_t))?;
            for (index, item) in (0..).zip(items) {
                ffi::PyTuple_SET_ITEM(tuple.as_ptr(), index, item.clone_ref(py).into_ptr());
            }
            Some(tuple)
        }
    }

    /// The item `key` of a dictionary. `None`: there is none, or this is no dictionary.
    #[must_use]
    pub fn get_item(&self, py: Attached<'_>, key: &CStr) -> Option<Self> {
        // SAFETY: attached; the object is live and the key ends in NUL. The item is borrowed.
        unsafe {
            let item = ffi::PyDict_GetItemString(self.as_ptr(), key.as_ptr());
            Self::from_borrowed(py, item)
        }
    }

    /// Sets the item `key` of a dictionary. `None`: exception set.
    #[must_use]
    pub fn set_item(&self, _: Attached<'_>, key: &CStr, value: &Object) -> Option<()> {
        // SAFETY: attached; both are live, the key ends in NUL, and a dictionary takes references
        // of its own.
        let status =
            unsafe { ffi::PyDict_SetItemString(self.as_ptr(), key.as_ptr(), value.as_ptr()) };
        (status == 0).then_some(())
    }

    /// As [`Object::set_item`], with any object for a key.
    #[inline]
    #[must_use]
    pub fn set(&self, _: Attached<'_>, key: &Object, value: &Object) -> Option<()> {
        // SAFETY: attached; all are live, and a dictionary takes references of its own. What is no
        // dictionary is refused.
        let status = unsafe { ffi::PyDict_SetItem(self.as_ptr(), key.as_ptr(), value.as_ptr()) };
        (status == 0).then_some(())
    }

    /// Removes the item `key` of a dictionary. `None`: exception set.
    #[must_use]
    pub fn remove(&self, _: Attached<'_>, key: &Object) -> Option<()> {
        // SAFETY: attached; both are live. What is no dictionary is refused.
        let status = unsafe { ffi::PyDict_DelItem(self.as_ptr(), key.as_ptr()) };
        (status == 0).then_some(())
    }

    /// A shallow copy of a dictionary. `None`: exception set.
    #[must_use]
    pub fn dict_copy(&self, py: Attached<'_>) -> Option<Self> {
        // SAFETY: attached; the object is live. What is no dictionary is refused.
        unsafe { Self::from_owned(py, ffi::PyDict_Copy(self.as_ptr())) }
    }

    /// Gives a dictionary all items of another one. `None`: exception set.
    #[must_use]
    pub fn update(&self, _: Attached<'_>, items: &Object) -> Option<()> {
        // SAFETY: attached; both are live. What is no dictionary is refused.
        let status = unsafe { ffi::PyDict_Update(self.as_ptr(), items.as_ptr()) };
        (status == 0).then_some(())
    }

    /// The length of a tuple. `None`: this is none.
    #[must_use]
    pub fn tuple_size(&self) -> Option<ffi::Py_ssize_t> {
        // SAFETY: the object is live, and asked for its length if it is a tuple.
        unsafe {
            let is_tuple = ffi::PyTuple_Check(self.as_ptr()) != 0;
            is_tuple.then(|| ffi::PyTuple_GET_SIZE(self.as_ptr()))
        }
    }

    /// An item of a tuple. `None`: there is none, or this is no tuple (exception set).
    #[must_use]
    pub fn tuple_item(&self, py: Attached<'_>, index: ffi::Py_ssize_t) -> Option<Self> {
        // SAFETY: attached; the object is live, and keeps the item, which is borrowed, alive. What
        // is no tuple is refused.
        unsafe { Self::from_borrowed(py, ffi::PyTuple_GetItem(self.as_ptr(), index)) }
    }

    /// An item of a list. `None`: there is none, or this is no list (exception set).
    #[must_use]
    pub fn list_item(&self, py: Attached<'_>, index: ffi::Py_ssize_t) -> Option<Self> {
        // SAFETY: attached; the object is live. The item is borrowed, and what is no list is
        // refused.
        unsafe { Self::from_borrowed(py, ffi::PyList_GetItem(self.as_ptr(), index)) }
    }

    /// The length of a list. -1: this is no list (exception set).
    #[must_use]
    pub fn list_size(&self, _: Attached<'_>) -> ffi::Py_ssize_t {
        // SAFETY: attached; the object is live. What is no list is refused.
        unsafe { ffi::PyList_Size(self.as_ptr()) }
    }

    /// Adds an item to the end of a list. `None`: exception set.
    #[must_use]
    pub fn append(&self, _: Attached<'_>, item: &Object) -> Option<()> {
        // SAFETY: attached; both are live, and a list takes a reference of its own. What is no list
        // is refused.
        let status = unsafe { ffi::PyList_Append(self.as_ptr(), item.as_ptr()) };
        (status == 0).then_some(())
    }
}
