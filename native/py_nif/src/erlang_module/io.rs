//! `write` and `flush` of Python's standard output and error.
//!
//! Runs on whatever thread Python code runs on, attached.

use py_runtime::exception::{ErrorClass, clear, lossy_text};
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
        Object::int(py, written as i64).ok_or(Raised)
    })
}

/// Gives `work` the UTF-8 of a `str`, or the contents of `bytes`; returns the length in Python's
/// eyes.
fn with_bytes(
    py: Attached<'_>,
    text: &Object,
    work: impl FnOnce(&[u8]),
) -> Result<ffi::Py_ssize_t, Raised> {
    if text.is_text() {
        if let Some(utf8) = text.utf8(py) {
            work(utf8);
        } else {
            // A lone surrogate.
            clear(py);
            work(lossy_text(py, text).ok_or(Raised)?.as_bytes());
        }
        // SAFETY: attached; a live `str`.
        Ok(unsafe { ffi::PyUnicode_GetLength(text.as_ptr()) })
    } else if let Some(bytes) = text.contents(py) {
        work(bytes);
        Ok(bytes.len() as ffi::Py_ssize_t)
    } else {
        clear(py);
        let message = format!("write() argument must be str, not {}", text.class_name(py));
        Err(raise(py, ErrorClass::TypeError, &message))
    }
}

/// Sends what has been written of an unfinished line.
pub(super) fn flush(py: Attached<'_>, stream: usize) -> Object {
    current_job::with_output(|output, _| output.flush(stream));
    Object::none(py)
}
