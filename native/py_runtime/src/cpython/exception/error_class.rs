//! Python's own exception classes by name, to raise them and to ask for them.

use std::ffi::CString;

use pyo3_ffi as ffi;

use super::raised::is_set;
use crate::cpython::object::{Attached, Object};

/// The class of an exception that is raised or asked for here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::enum_variant_names, reason = "they are the classes' names")]
pub enum ErrorClass {
    /// `AttributeError`
    AttributeError,
    /// `ImportError`
    ImportError,
    /// `KeyboardInterrupt`
    KeyboardInterrupt,
    /// `NameError`
    NameError,
    /// `RecursionError`
    RecursionError,
    /// `RuntimeError`
    RuntimeError,
    /// `SystemError`
    SystemError,
    /// `TypeError`
    TypeError,
    /// `UnicodeEncodeError`
    UnicodeEncodeError,
    /// `ValueError`
    ValueError,
}

impl ErrorClass {
    /// The class. It is static, and so the same object in all interpreters.
    #[must_use]
    pub fn as_ptr(self, _: Attached<'_>) -> *mut ffi::PyObject {
        // SAFETY: Python runs, so its classes are there, and nothing replaces them.
        unsafe {
            match self {
                ErrorClass::AttributeError => ffi::PyExc_AttributeError,
                ErrorClass::ImportError => ffi::PyExc_ImportError,
                ErrorClass::KeyboardInterrupt => ffi::PyExc_KeyboardInterrupt,
                ErrorClass::NameError => ffi::PyExc_NameError,
                ErrorClass::RecursionError => ffi::PyExc_RecursionError,
                ErrorClass::RuntimeError => ffi::PyExc_RuntimeError,
                ErrorClass::SystemError => ffi::PyExc_SystemError,
                ErrorClass::TypeError => ffi::PyExc_TypeError,
                ErrorClass::UnicodeEncodeError => ffi::PyExc_UnicodeEncodeError,
                ErrorClass::ValueError => ffi::PyExc_ValueError,
            }
        }
    }

    /// Sets an exception of the class.
    pub fn raise(self, py: Attached<'_>, message: &str) {
        let class = self.as_ptr(py);
        // SAFETY: the class is live for ever.
        raise_as(py, unsafe { Object::lent(py, &class) }, message);
    }

    /// Sets an exception of the class, without a message.
    pub fn raise_plain(self, py: Attached<'_>) {
        // SAFETY: attached; a live class.
        unsafe { ffi::PyErr_SetNone(self.as_ptr(py)) };
    }

    /// Whether the exception that is set is of the class.
    #[must_use]
    pub fn is_raised(self, py: Attached<'_>) -> bool {
        // SAFETY: attached; a live class, and an exception is set.
        is_set(py) && unsafe { ffi::PyErr_ExceptionMatches(self.as_ptr(py)) != 0 }
    }
}

/// Sets an exception of a class that Python code has made. What is no such class makes it a
/// `SystemError`.
pub fn raise_as(_: Attached<'_>, class: &Object, message: &str) {
    let message = CString::new(message.replace('\0', "\\0")).unwrap_or_default();
    // SAFETY: attached; a live object, and the message ends in NUL.
    unsafe { ffi::PyErr_SetString(class.as_ptr(), message.as_ptr()) };
}
