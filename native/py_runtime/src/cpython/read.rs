//! Plain data out of Python objects.

use std::ffi::CStr;

use pyo3_ffi as ffi;

use crate::cpython::exception::{clear, set_no_memory};
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
    if let Some(utf8) = text.utf8(py) {
        return copy(py, utf8);
    }
    clear(py);
    // SAFETY: `text` is live; a non-`str` makes the call fail with a TypeError, not misbehave.
    let bytes = unsafe {
        Object::from_owned(
            py,
            ffi::PyUnicode_AsEncodedString(text.as_ptr(), UTF8.as_ptr(), ESCAPE.as_ptr()),
        )
    }?;
    copy(py, bytes.contents(py)?)
}

/// A copy of text whose length comes from Python code. `None`: there is no memory, and
/// `MemoryError` is set.
fn copy(py: Attached<'_>, utf8: &[u8]) -> Option<String> {
    let mut text = String::new();
    if text.try_reserve_exact(utf8.len()).is_err() {
        set_no_memory(py);
        return None;
    }
    // As CPython has made it, it is UTF-8.
    text.push_str(std::str::from_utf8(utf8).unwrap_or_default());
    Some(text)
}
