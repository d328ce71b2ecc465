//! What an exception says, with the column of a `SyntaxError`.

use pyo3_ffi as ffi;

use super::raised::{clear, take_raised};
use crate::cpython::object::{Attached, Object};
use crate::cpython::read::{integer_attribute, lossy_text};

/// What an exception says, or what was raised instead.
pub(super) fn message(at: Attached<'_>, raised: &Object) -> Result<String, Option<Object>> {
    // SAFETY: `raised` is live and the thread attached.
    let text = unsafe { Object::from_owned(at, ffi::PyObject_Str(raised.as_ptr())) };
    let text = text.and_then(|text| lossy_text(at, &text)).ok_or_else(|| take_raised(at))?;
    Ok(match column(at, raised) {
        Some(column) => with_column(text, column),
        None => text,
    })
}

/// The column of a `SyntaxError`, which its text leaves out.
fn column(at: Attached<'_>, raised: &Object) -> Option<i64> {
    // SAFETY: attached; both are live.
    if unsafe { ffi::PyObject_IsInstance(raised.as_ptr(), ffi::PyExc_SyntaxError) } != 1 {
        return None;
    }
    let column = integer_attribute(at, raised, c"offset");
    clear(at);
    column
}

/// In a longer text the column is left out, rather than to copy it.
const LONGEST_PLACE: usize = 64 << 10;

/// `invalid syntax (<file>, line 1)` becomes `invalid syntax (<file>, line 1, column 5)`. Both are
/// counted from 1. Of an error that is nowhere, such as a wrong encoding, Python says line 0.
fn with_column(text: String, column: i64) -> String {
    if let Some(start) = text.strip_suffix(", line 0)") {
        return format!("{start})");
    }
    match text.strip_suffix(')').filter(|_| column > 0) {
        Some(start) if start.len() <= LONGEST_PLACE && start.contains(", line ") => {
            format!("{start}, column {column})")
        }
        _ => text,
    }
}
