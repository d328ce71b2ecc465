//! The memory that an object exports (PEP 3118), for as long as a function runs.

use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;

use pyo3_ffi as ffi;

use crate::cpython::object::{Attached, Object};

const C_ORDER: c_char = b'C' as c_char;

/// A buffer of an object, of whatever layout. The object keeps its memory in place meanwhile.
pub struct View<'v>(&'v mut ffi::Py_buffer);

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("View").field(&self.0.len).finish()
    }
}

impl View<'_> {
    /// Gives a view of the object to `work`, and releases it after. `None`: the object has none
    /// (exception set).
    #[inline]
    pub fn with<T>(
        _: Attached<'_>,
        object: &Object,
        work: impl FnOnce(&View<'_>) -> T,
    ) -> Option<T> {
        let mut view = MaybeUninit::<ffi::Py_buffer>::zeroed();
        // SAFETY: attached; the object is live. On success the view is filled in. It may point into
        // itself, so it isn't moved.
        let view = unsafe {
            let flags = ffi::PyBUF_FULL_RO;
            if ffi::PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), flags) != 0 {
                return None;
            }
            View(view.assume_init_mut())
        };
        Some(work(&view))
    }

    /// The size of the memory in bytes; of one that isn't contiguous, that of a copy.
    #[must_use]
    pub fn size(&self) -> usize {
        // Never negative.
        self.0.len as usize
    }

    /// The size of one item in bytes.
    #[must_use]
    pub fn item_size(&self) -> ffi::Py_ssize_t {
        self.0.itemsize
    }

    /// What an item is, as in Python's `struct`. `None`: a byte.
    #[must_use]
    pub fn format(&self) -> Option<&CStr> {
        let format = self.0.format;
        // SAFETY: a format ends in NUL, and lives as long as the view.
        (!format.is_null()).then(|| unsafe { CStr::from_ptr(format) })
    }

    /// The size of each dimension. None for a scalar.
    #[must_use]
    pub fn shape(&self) -> &[ffi::Py_ssize_t] {
        if self.0.shape.is_null() || self.0.ndim <= 0 {
            return &[];
        }
        // SAFETY: a view has as many dimensions as it says.
        unsafe { std::slice::from_raw_parts(self.0.shape, self.0.ndim.unsigned_abs() as usize) }
    }

    /// Whether the items are one after the other, in C's order.
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        // SAFETY: the view is filled in.
        unsafe { ffi::PyBuffer_IsContiguous(&raw const *self.0, C_ORDER) != 0 }
    }

    /// Copies the items one after the other. `None`: exception set.
    ///
    /// # Safety
    /// [`View::size`] bytes can be written at `target`.
    pub unsafe fn copy_to(&self, target: *mut c_void) -> Option<()> {
        // Older versions declare what they only read as mutable.
        let view = (&raw const *self.0).cast_mut();
        // SAFETY: attached, as in `with`; the view is filled in, and the caller vouches
        // for the target.
        let status = unsafe { ffi::PyBuffer_ToContiguous(target, view, self.0.len, C_ORDER) };
        (status == 0).then_some(())
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        // SAFETY: attached, as in `with`, which has had it filled in; released once.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.0) };
    }
}
