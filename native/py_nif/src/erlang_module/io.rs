//! `write` and `flush` of Python's standard output and error.
//!
//! Runs on whatever thread Python code runs on, attached.

use py_runtime::exception::lossy_text;
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};

use super::blocking::wait;
use super::current_job;
use super::values::{Raised, raise};

/// Writes text (or bytes) to standard output (0) or error (1); returns how much that was.
pub(super) fn write(py: Attached<'_>, stream: usize, text: &Object) -> Result<Object, Raised> {
    current_job::with_output(|output, job| {
        let written = with_bytes(py, text, |bytes| output.write(stream, bytes))?;
        if output.is_full() {
            wait(py, job, |stop| output.wait_for_capacity(stop));
        }
        // SAFETY: attached; the result is null or ours.
        unsafe { Object::from_owned(py, ffi::PyLong_FromSsize_t(written)) }.ok_or(Raised)
    })
}

/// Gives `work` the UTF-8 of a `str`, or the contents of `bytes`; returns the length in Python's
/// eyes.
fn with_bytes(
    py: Attached<'_>,
    text: &Object,
    work: impl FnOnce(&[u8]),
) -> Result<ffi::Py_ssize_t, Raised> {
    let ptr = text.as_ptr();
    // SAFETY: attached, and the object is live: its bytes live as long as it does.
    unsafe {
        let (mut start, mut length) = (std::ptr::null_mut(), 0);
        if ffi::PyUnicode_Check(ptr) != 0 {
            let utf8 = ffi::PyUnicode_AsUTF8AndSize(ptr, &raw mut length);
            if utf8.is_null() {
                // A lone surrogate.
                ffi::PyErr_Clear();
                work(lossy_text(py, text).ok_or(Raised)?.as_bytes());
            } else {
                work(slice(utf8, length));
            }
            Ok(ffi::PyUnicode_GetLength(ptr))
        } else if ffi::PyBytes_AsStringAndSize(ptr, &raw mut start, &raw mut length) == 0 {
            work(slice(start, length));
            Ok(length)
        } else {
            ffi::PyErr_Clear();
            let class = std::ffi::CStr::from_ptr((*ffi::Py_TYPE(ptr)).tp_name).to_string_lossy();
            let message = format!("write() argument must be str, not {class}");
            Err(raise(py, ffi::PyExc_TypeError, &message))
        }
    }
}

/// # Safety
/// So many bytes are there, for as long as the slice is in use.
unsafe fn slice<'a>(start: *const std::ffi::c_char, length: ffi::Py_ssize_t) -> &'a [u8] {
    // SAFETY: as the caller vouches.
    unsafe { std::slice::from_raw_parts(start.cast(), usize::try_from(length).unwrap_or(0)) }
}

/// Sends what has been written of an unfinished line.
pub(super) fn flush(py: Attached<'_>, stream: usize) -> Object {
    current_job::with_output(|output, _| output.flush(stream));
    Object::none(py)
}
