//! Plain data out of Python objects.

use std::ffi::CStr;

use pyo3_ffi as ffi;

use crate::cpython::object::{Attached, Object};

/// An integer of an object. `None`: it has none of that name, and an exception may be set.
pub(crate) fn integer_attribute(py: Attached<'_>, object: &Object, name: &CStr) -> Option<i64> {
    let value = object.getattr_c(py, name)?;
    // SAFETY: attached; `value` is live, and looked into only if it is an int.
    unsafe {
        if ffi::PyLong_Check(value.as_ptr()) == 0 {
            return None;
        }
        let mut overflow = 0;
        let number = ffi::PyLong_AsLongLongAndOverflow(value.as_ptr(), &raw mut overflow);
        (overflow == 0).then_some(number)
    }
}

/// The text of a `str` as UTF-8; lone surrogates come out as `\udcXX` escapes instead of failing.
/// `None`: an exception is set, which is `MemoryError` if there is no memory for a copy.
#[must_use]
pub fn lossy_text(py: Attached<'_>, text: &Object) -> Option<String> {
    const UTF8: &CStr = c"utf-8";
    const ESCAPE: &CStr = c"backslashreplace";
    let mut len = 0;
    // SAFETY: `text` is live, and so is its UTF-8 as long as that; a non-`str` makes the call fail.
    unsafe {
        let start = ffi::PyUnicode_AsUTF8AndSize(text.as_ptr(), &raw mut len).cast::<u8>();
        if !start.is_null() {
            let utf8 = std::slice::from_raw_parts(start, usize::try_from(len).ok()?);
            return copy(utf8);
        }
        ffi::PyErr_Clear();
    }
    // SAFETY: `text` is live; a non-`str` makes the call fail with a TypeError, not misbehave.
    let bytes = unsafe {
        Object::from_owned(
            py,
            ffi::PyUnicode_AsEncodedString(text.as_ptr(), UTF8.as_ptr(), ESCAPE.as_ptr()),
        )
    }?;
    // SAFETY: an encoded string is a `bytes`; its buffer lives as long as `bytes`.
    let slice = unsafe {
        let start = ffi::PyBytes_AsString(bytes.as_ptr()).cast::<u8>();
        let len = usize::try_from(ffi::PyBytes_Size(bytes.as_ptr())).ok()?;
        std::slice::from_raw_parts(start, len)
    };
    copy(slice)
}

/// A copy of text whose length comes from Python code. `None`: there is no memory, and
/// `MemoryError` is set.
fn copy(utf8: &[u8]) -> Option<String> {
    let mut text = String::new();
    if text.try_reserve_exact(utf8.len()).is_err() {
        // SAFETY: attached, as every owner of an `Object` is.
        unsafe { ffi::PyErr_NoMemory() };
        return None;
    }
    // As CPython has made it, it is UTF-8.
    text.push_str(std::str::from_utf8(utf8).unwrap_or_default());
    Some(text)
}
