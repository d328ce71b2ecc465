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
/// and is not `Send`, and a context thread stays attached while it has any outside of its
/// long-lived state, which it drops before it ends the interpreter.
#[derive(Debug)]
#[repr(transparent)]
pub struct Object(NonNull<ffi::PyObject>);

impl Object {
    /// Takes over a new reference. `None` for null: the C API's way to say that an exception is
    /// set.
    ///
    /// # Safety
    /// `ptr` is null or a reference that the caller owns and passes on.
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
    pub fn none(py: Attached<'_>) -> Self {
        // SAFETY: `Py_None` is a live object in every interpreter.
        unsafe { Self::from_borrowed(py, ffi::Py_None()) }.expect("None is never null")
    }

    /// A `str`. `None` when memory runs out (exception set).
    #[must_use]
    pub fn text(py: Attached<'_>, text: &str) -> Option<Self> {
        let len = ffi::Py_ssize_t::try_from(text.len()).ok()?;
        // SAFETY: pointer and length come from one `&str`, which is valid UTF-8.
        unsafe { Self::from_owned(py, ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), len)) }
    }

    /// An interned `str`, for names that are looked up again and again.
    #[must_use]
    pub fn interned(py: Attached<'_>, text: &str) -> Option<Self> {
        let mut ptr = Self::text(py, text)?.into_ptr();
        // SAFETY: `ptr` is an owned `str`; interning swaps it for the canonical one in place.
        unsafe {
            ffi::PyUnicode_InternInPlace(&raw mut ptr);
            Self::from_owned(py, ptr)
        }
    }

    /// The attribute `name`. `None`: exception set.
    #[must_use]
    pub fn getattr(&self, py: Attached<'_>, name: &Object) -> Option<Self> {
        // SAFETY: both are live objects and the thread is attached.
        unsafe { Self::from_owned(py, ffi::PyObject_GetAttr(self.as_ptr(), name.as_ptr())) }
    }

    /// The attribute `name`, given as a C string. `None`: exception set.
    #[must_use]
    pub fn getattr_c(&self, py: Attached<'_>, name: &CStr) -> Option<Self> {
        // SAFETY: the object is live, the name ends in NUL, the thread is attached.
        unsafe { Self::from_owned(py, ffi::PyObject_GetAttrString(self.as_ptr(), name.as_ptr())) }
    }

    /// The module `name`, imported if need be. `None`: exception set.
    #[must_use]
    pub fn import(py: Attached<'_>, name: &CStr) -> Option<Self> {
        // SAFETY: attached; the name ends in NUL.
        unsafe { Self::from_owned(py, ffi::PyImport_ImportModule(name.as_ptr())) }
    }

    /// The module `name`, if it has been imported. `None`: an exception may be set.
    #[must_use]
    pub fn imported(py: Attached<'_>, name: &str) -> Option<Self> {
        let name = Self::text(py, name)?;
        // SAFETY: attached; the name is a `str`.
        unsafe { Self::from_owned(py, ffi::PyImport_GetModule(name.as_ptr())) }
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

    /// Calls the object. `None`: exception set.
    #[must_use]
    pub fn call0(&self, py: Attached<'_>) -> Option<Self> {
        // SAFETY: attached; the object is live.
        unsafe { Self::from_owned(py, ffi::PyObject_CallNoArgs(self.as_ptr())) }
    }

    /// Calls the object with one argument. `None`: exception set.
    #[must_use]
    pub fn call1(&self, py: Attached<'_>, argument: &Object) -> Option<Self> {
        // SAFETY: attached; both are live.
        unsafe {
            let result = ffi::PyObject_CallOneArg(self.as_ptr(), argument.as_ptr());
            Self::from_owned(py, result)
        }
    }

    /// Whether this is `None`.
    #[must_use]
    pub fn is_none(&self) -> bool {
        // SAFETY: `Py_None` is a live object in every interpreter.
        self.as_ptr() == unsafe { ffi::Py_None() }
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
    pub fn clone_ref(&self, py: Attached<'_>) -> Self {
        // SAFETY: `self` keeps the object alive.
        unsafe { Self::from_borrowed(py, self.as_ptr()) }.expect("an Object is never null")
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: we own the reference; the type's invariant says that the thread is attached.
        unsafe { ffi::Py_DECREF(self.as_ptr()) };
    }
}
