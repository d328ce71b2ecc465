//! Python exceptions as plain data.
//!
//! An exception object belongs to its interpreter and may not leave the thread. What travels is
//! this: the class name and the message.

use std::ffi::CStr;

use pyo3_ffi as ffi;

use crate::object::{Attached, Object};

/// What is left of a Python exception once it leaves its thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The class's `__name__`, e.g. `ValueError`.
    pub class: String,
    /// `str(exception)`, or a sentence about why that failed.
    pub message: String,
}

impl Exception {
    /// Takes the exception that is set on this thread, and clears it.
    ///
    /// A C function that failed without setting one (a bug in an extension) still yields an error:
    /// `SystemError`, as CPython itself would report it.
    #[must_use]
    pub fn take(at: Attached<'_>) -> Self {
        match take_raised(at) {
            Some(raised) => Self::describe(at, &raised),
            None => Exception {
                class: "SystemError".into(),
                message: "a call failed without setting an exception".into(),
            },
        }
    }

    fn describe(at: Attached<'_>, raised: &Object) -> Self {
        Exception { class: class_name(at, raised), message: message(at, raised) }
    }
}

/// Takes the raised exception object from the thread state.
fn take_raised(at: Attached<'_>) -> Option<Object> {
    #[cfg(Py_3_12)]
    // SAFETY: attached; the call hands over its reference.
    unsafe {
        Object::from_owned(at, ffi::PyErr_GetRaisedException())
    }
    #[cfg(not(Py_3_12))]
    // SAFETY: attached; `PyErr_Fetch` hands over three references (or nulls), which
    // `PyErr_NormalizeException` replaces by owned ones, and each is taken exactly once.
    unsafe {
        let (mut class, mut value, mut trace) =
            (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
        ffi::PyErr_Fetch(&raw mut class, &raw mut value, &raw mut trace);
        ffi::PyErr_NormalizeException(&raw mut class, &raw mut value, &raw mut trace);
        if !value.is_null() && !trace.is_null() {
            ffi::PyException_SetTraceback(value, trace);
        }
        drop(Object::from_owned(at, class));
        drop(Object::from_owned(at, trace));
        Object::from_owned(at, value)
    }
}

fn class_name(at: Attached<'_>, raised: &Object) -> String {
    // SAFETY: `raised` is live, so its type is.
    let class = unsafe { Object::from_borrowed(at, ffi::Py_TYPE(raised.as_ptr()).cast()) };
    class
        .and_then(|class| class.getattr_c(at, c"__name__"))
        .and_then(|name| lossy_text(at, &name))
        .unwrap_or_else(|| {
            clear(at);
            "Exception".into()
        })
}

fn message(at: Attached<'_>, raised: &Object) -> String {
    // SAFETY: `raised` is live and the thread attached.
    let text = unsafe { Object::from_owned(at, ffi::PyObject_Str(raised.as_ptr())) };
    text.and_then(|text| lossy_text(at, &text)).unwrap_or_else(|| {
        let second = take_raised(at).map_or_else(String::new, |second| class_name(at, &second));
        format!("<the exception's __str__ raised {second}>")
    })
}

/// The text of a `str` as UTF-8; lone surrogates come out as `\udcXX` escapes instead of failing.
#[must_use]
pub fn lossy_text(at: Attached<'_>, text: &Object) -> Option<String> {
    const UTF8: &CStr = c"utf-8";
    const ESCAPE: &CStr = c"backslashreplace";
    // SAFETY: `text` is live; a non-`str` makes the call fail with a TypeError, not misbehave.
    let bytes = unsafe {
        Object::from_owned(
            at,
            ffi::PyUnicode_AsEncodedString(text.as_ptr(), UTF8.as_ptr(), ESCAPE.as_ptr()),
        )
    }?;
    // SAFETY: an encoded string is a `bytes`; its buffer lives as long as `bytes`.
    let slice = unsafe {
        let start = ffi::PyBytes_AsString(bytes.as_ptr()).cast::<u8>();
        let len = usize::try_from(ffi::PyBytes_Size(bytes.as_ptr())).ok()?;
        std::slice::from_raw_parts(start, len)
    };
    Some(String::from_utf8_lossy(slice).into_owned())
}

/// Forgets whatever exception is set.
pub fn clear(_: Attached<'_>) {
    // SAFETY: attached.
    unsafe { ffi::PyErr_Clear() };
}
