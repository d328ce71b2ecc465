//! Owned references to Python objects, and the proof that they may be touched.
//!
//! Everything here runs on a context thread, attached to its interpreter. Nothing here is `Send`:
//! a Python object never leaves the thread that owns its interpreter.

use std::ffi::{CStr, c_char};
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

    /// The interpreter that the thread is attached to.
    #[inline]
    #[must_use]
    pub fn interpreter(self) -> *mut ffi::PyInterpreterState {
        // SAFETY: attached.
        unsafe { ffi::PyInterpreterState_Get() }
    }

    /// CPython's number of the interpreter; 0 is the main one.
    #[must_use]
    pub fn interpreter_number(self) -> i64 {
        // SAFETY: attached to the interpreter, which is alive therefore.
        unsafe { ffi::PyInterpreterState_GetID(self.interpreter()) }
    }

    /// Whether the thread is attached to the main interpreter.
    #[must_use]
    pub fn is_in_main_interpreter(self) -> bool {
        // SAFETY: Python runs; the call can't fail.
        self.interpreter() == unsafe { ffi::PyInterpreterState_Main() }
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

    /// A borrowed object, without a reference of its own.
    ///
    /// # Safety
    /// `ptr` is not null and points to an object that is live as long as the result is in use.
    #[inline]
    #[must_use]
    pub unsafe fn lent<'a>(_: Attached<'_>, ptr: &'a *mut ffi::PyObject) -> &'a Object {
        // SAFETY: an `Object` is a transparent pointer that isn't null, as the caller vouches. It
        // is only lent, so it isn't dropped.
        unsafe { &*std::ptr::from_ref(ptr).cast::<Object>() }
    }

    /// The `None` object.
    #[must_use]
    pub fn none(py: Attached<'_>) -> Self {
        // SAFETY: `Py_None` is a live object in every interpreter.
        unsafe { Self::from_borrowed(py, ffi::Py_None()) }.expect("None is never null")
    }

    /// `True` or `False`.
    #[must_use]
    pub fn bool(py: Attached<'_>, value: bool) -> Self {
        // SAFETY: both are live objects in every interpreter.
        unsafe {
            let value = if value { ffi::Py_True() } else { ffi::Py_False() };
            Self::from_borrowed(py, value).expect("a bool is never null")
        }
    }

    /// An `int`. `None`: exception set.
    #[must_use]
    pub fn int(py: Attached<'_>, value: i64) -> Option<Self> {
        // SAFETY: attached; the result is null or new.
        unsafe { Self::from_owned(py, ffi::PyLong_FromLongLong(value)) }
    }

    /// A `float`. `None`: exception set.
    #[inline]
    #[must_use]
    pub fn float(py: Attached<'_>, value: f64) -> Option<Self> {
        // SAFETY: attached; the result is null or new.
        unsafe { Self::from_owned(py, ffi::PyFloat_FromDouble(value)) }
    }

    /// A `bytes`. `None`: exception set.
    #[inline]
    #[must_use]
    pub fn bytes(py: Attached<'_>, bytes: &[u8]) -> Option<Self> {
        // A slice is never longer.
        let length = bytes.len() as ffi::Py_ssize_t;
        // SAFETY: attached; pointer and length are those of one slice, which is copied.
        unsafe {
            let bytes = ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), length);
            Self::from_owned(py, bytes)
        }
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
        Self::imported_as(py, &Self::text(py, name)?)
    }

    /// The module `name`, a `str`, if it has been imported. `None`: an exception may be set.
    #[inline]
    #[must_use]
    pub fn imported_as(py: Attached<'_>, name: &Object) -> Option<Self> {
        // SAFETY: attached; the name is live.
        unsafe { Self::from_owned(py, ffi::PyImport_GetModule(name.as_ptr())) }
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

    /// Calls the object with some arguments. `None`: exception set.
    #[inline]
    #[must_use]
    pub fn call<const N: usize>(&self, py: Attached<'_>, arguments: [&Object; N]) -> Option<Self> {
        let pointers = arguments.map(Object::as_ptr);
        // SAFETY: attached; live objects, as many as the call is given; a null for no keywords.
        unsafe {
            let none = std::ptr::null_mut();
            let result = ffi::PyObject_Vectorcall(self.as_ptr(), pointers.as_ptr(), N, none);
            Self::from_owned(py, result)
        }
    }

    /// Calls a method without arguments. `None`: exception set.
    #[must_use]
    pub fn call_method0(&self, py: Attached<'_>, name: &CStr) -> Option<Self> {
        // SAFETY: attached; the object is live, the name ends in NUL, and without a format there
        // are no arguments.
        unsafe {
            let result = ffi::PyObject_CallMethod(self.as_ptr(), name.as_ptr(), std::ptr::null());
            Self::from_owned(py, result)
        }
    }

    /// `str(self)`. `None`: exception set.
    #[must_use]
    pub fn str(&self, py: Attached<'_>) -> Option<Self> {
        // SAFETY: attached; the object is live.
        unsafe { Self::from_owned(py, ffi::PyObject_Str(self.as_ptr())) }
    }

    /// `repr(self)`. `None`: exception set.
    #[must_use]
    pub fn repr(&self, py: Attached<'_>) -> Option<Self> {
        // SAFETY: attached; the object is live.
        unsafe { Self::from_owned(py, ffi::PyObject_Repr(self.as_ptr())) }
    }

    /// `bool(self)`. `None`: exception set.
    #[must_use]
    pub fn is_true(&self, _: Attached<'_>) -> Option<bool> {
        // SAFETY: attached; the object is live.
        let is_true = unsafe { ffi::PyObject_IsTrue(self.as_ptr()) };
        (is_true >= 0).then_some(is_true == 1)
    }

    /// The object's class. Borrowed: the object may get another one, as Python code runs.
    #[inline]
    #[must_use]
    pub fn class_ptr(&self) -> *mut ffi::PyTypeObject {
        // SAFETY: a live object has a class.
        unsafe { ffi::Py_TYPE(self.as_ptr()) }
    }

    /// Whether this is an instance of `class` itself, not of a class derived from it.
    #[inline]
    #[must_use]
    pub fn is_instance_exactly(&self, class: &Object) -> bool {
        self.class_ptr().cast() == class.as_ptr()
    }

    /// The object's class.
    #[must_use]
    pub fn class(&self, py: Attached<'_>) -> Self {
        // SAFETY: the object is live, so its class is.
        unsafe { Self::from_borrowed(py, self.class_ptr().cast()) }.expect("there is a class")
    }

    /// The name of the object's class, with the module if the class is made in C.
    #[must_use]
    pub fn class_name(&self, _: Attached<'_>) -> String {
        // SAFETY: the object is live, so its class is, whose name ends in NUL and stays until
        // Python code runs.
        unsafe { CStr::from_ptr((*self.class_ptr()).tp_name) }.to_string_lossy().into_owned()
    }

    /// Whether the object's class has this name, see [`Object::class_name`].
    #[inline]
    #[must_use]
    pub fn has_class_name(&self, _: Attached<'_>, name: &CStr) -> bool {
        // SAFETY: as for `class_name`.
        unsafe { CStr::from_ptr((*self.class_ptr()).tp_name) == name }
    }

    /// Whether this is a `str`, or an instance of a subclass.
    #[inline]
    #[must_use]
    pub fn is_text(&self) -> bool {
        // SAFETY: the object is live.
        unsafe { ffi::PyUnicode_Check(self.as_ptr()) != 0 }
    }

    /// The UTF-8 of a `str`. `None`: it has a lone surrogate, or this is no `str` (exception set).
    #[must_use]
    pub fn utf8(&self, _: Attached<'_>) -> Option<&[u8]> {
        let mut length = 0;
        // SAFETY: attached; the object is live, and what is no `str` is refused. A `str` keeps its
        // UTF-8, of this length, unchanged as long as it lives.
        unsafe {
            let start = ffi::PyUnicode_AsUTF8AndSize(self.as_ptr(), &raw mut length);
            slice(start, length)
        }
    }

    /// The contents of a `bytes`. `None`: this is none (exception set).
    #[must_use]
    pub fn contents(&self, _: Attached<'_>) -> Option<&[u8]> {
        let (mut start, mut length) = (std::ptr::null_mut(), 0);
        // SAFETY: attached; the object is live, and what is no `bytes` is refused, in which case
        // `start` stays null. A `bytes` keeps so many bytes unchanged as long as it lives.
        unsafe {
            ffi::PyBytes_AsStringAndSize(self.as_ptr(), &raw mut start, &raw mut length);
            slice(start, length)
        }
    }

    /// Whether this is `True`, or `False`, itself.
    #[must_use]
    pub fn is_bool(&self, value: bool) -> bool {
        // SAFETY: both are live objects in every interpreter.
        self.as_ptr() == unsafe { if value { ffi::Py_True() } else { ffi::Py_False() } }
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

/// `None` for null.
///
/// # Safety
/// `start` is null, or so many bytes are there for as long as the slice is in use.
unsafe fn slice<'a>(start: *const c_char, length: ffi::Py_ssize_t) -> Option<&'a [u8]> {
    let length = usize::try_from(length).ok()?;
    // SAFETY: as the caller vouches.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), length) })
}
