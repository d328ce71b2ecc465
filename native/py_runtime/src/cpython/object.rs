//! Owned references to Python objects, and the proof that they may be touched.
//!
//! Everything here runs on a context thread, attached to its interpreter. Nothing here is `Send`:
//! a Python object never leaves the thread that owns its interpreter.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::NonNull;

use pyo3_ffi as ffi;

/// Proof that the current thread is attached to an interpreter.
///
/// A zero-sized token: functions that need an attached thread take one, so that "is the GIL held
/// here?" is answered by the signature. It is neither `Send` nor `Sync`.
#[derive(Clone, Copy, Debug)]
pub struct Attached<'t>(PhantomData<(&'t (), *mut ())>);

impl Attached<'_> {
    /// Claims that the current thread is attached.
    ///
    /// # Safety
    /// The current thread must be attached to an interpreter for as long as the token, or any copy
    /// of it, is used to touch Python objects.
    #[must_use]
    pub unsafe fn assume() -> Self {
        Attached(PhantomData)
    }
}

/// One owned (strong) reference to a Python object. Never null.
///
/// Dropping it releases the reference, so it must be dropped by an attached thread of the object's
/// own interpreter. This is upheld by construction: an `Object` is made from an [`Attached`] token
/// and is not `Send`, and a context thread stays attached while it holds any outside of its
/// long-lived state, which it drops before it ends the interpreter.
#[derive(Debug)]
#[repr(transparent)]
pub struct Object(NonNull<ffi::PyObject>);

impl Object {
    /// Takes over a new reference. `None` for null: the C API's way to say that an exception is set.
    ///
    /// # Safety
    /// `ptr` is null or a reference that the caller owns and gives up.
    #[must_use]
    pub unsafe fn from_owned(_: Attached<'_>, ptr: *mut ffi::PyObject) -> Option<Self> {
        NonNull::new(ptr).map(Object)
    }

    /// Takes a reference of its own to a borrowed object. `None` for null.
    ///
    /// # Safety
    /// `ptr` is null or points to a live object.
    #[must_use]
    pub unsafe fn from_borrowed(_: Attached<'_>, ptr: *mut ffi::PyObject) -> Option<Self> {
        // SAFETY: the caller vouches for a live object (or null, which XINCREF allows).
        unsafe { ffi::Py_XINCREF(ptr) };
        NonNull::new(ptr).map(Object)
    }

    /// The `None` object.
    #[must_use]
    pub fn none(at: Attached<'_>) -> Self {
        // SAFETY: `Py_None` is a live object in every interpreter.
        unsafe { Self::from_borrowed(at, ffi::Py_None()) }.expect("None is never null")
    }

    /// A `str`. `None` when memory runs out (exception set).
    #[must_use]
    pub fn text(at: Attached<'_>, text: &str) -> Option<Self> {
        let len = ffi::Py_ssize_t::try_from(text.len()).ok()?;
        // SAFETY: pointer and length come from one `&str`, which is valid UTF-8.
        unsafe { Self::from_owned(at, ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), len)) }
    }

    /// An interned `str`, for names that are looked up again and again.
    #[must_use]
    pub fn interned(at: Attached<'_>, text: &str) -> Option<Self> {
        let mut ptr = Self::text(at, text)?.into_ptr();
        // SAFETY: `ptr` is an owned `str`; interning swaps it for the canonical one in place.
        unsafe {
            ffi::PyUnicode_InternInPlace(&raw mut ptr);
            Self::from_owned(at, ptr)
        }
    }

    /// The attribute `name`. `None`: exception set.
    #[must_use]
    pub fn getattr(&self, at: Attached<'_>, name: &Object) -> Option<Self> {
        // SAFETY: both are live objects and the thread is attached.
        unsafe { Self::from_owned(at, ffi::PyObject_GetAttr(self.as_ptr(), name.as_ptr())) }
    }

    /// The attribute `name`, given as a C string. `None`: exception set.
    #[must_use]
    pub fn getattr_c(&self, at: Attached<'_>, name: &CStr) -> Option<Self> {
        // SAFETY: the object is live, the name ends in NUL, the thread is attached.
        unsafe { Self::from_owned(at, ffi::PyObject_GetAttrString(self.as_ptr(), name.as_ptr())) }
    }

    /// The borrowed pointer, valid while `self` lives.
    #[must_use]
    pub fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }

    /// Gives the reference up to the caller.
    #[must_use]
    pub fn into_ptr(self) -> *mut ffi::PyObject {
        let ptr = self.0.as_ptr();
        std::mem::forget(self);
        ptr
    }

    /// Another reference to the same object.
    #[must_use]
    pub fn clone_ref(&self, at: Attached<'_>) -> Self {
        // SAFETY: `self` keeps the object alive.
        unsafe { Self::from_borrowed(at, self.as_ptr()) }.expect("an Object is never null")
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: we own the reference; the type's invariant says that the thread is attached.
        unsafe { ffi::Py_DECREF(self.as_ptr()) };
    }
}
