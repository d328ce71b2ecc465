//! The message of an exception, with the column of a `SyntaxError`.

use pyo3_ffi as ffi;

use super::raised::{clear, take_raised};
use crate::cpython::object::{Attached, Object};
use crate::cpython::read::{integer_attribute, lossy_text};

/// The message of an exception, or what was raised instead.
pub(super) fn message(py: Attached<'_>, raised: &Object) -> Result<String, Option<Object>> {
    let text = raised.str(py).and_then(|text| lossy_text(py, &text));
    let text = text.ok_or_else(|| take_raised(py))?;
    Ok(match column(py, raised) {
        Some(column) => with_column(text, column),
        None => text,
    })
}

/// The column of a `SyntaxError`, which its text leaves out.
fn column(py: Attached<'_>, raised: &Object) -> Option<i64> {
    // SAFETY: attached; both are live.
    if unsafe { ffi::PyObject_IsInstance(raised.as_ptr(), ffi::PyExc_SyntaxError) } != 1 {
        return None;
    }
    let column = integer_attribute(py, raised, c"offset");
    clear(py);
    column
}

/// In a longer text the column is left out, rather than to copy it.
const MAX_TEXT_WITH_COLUMN: usize = 64 << 10;

/// `invalid syntax (<file>, line 1)` becomes `invalid syntax (<file>, line 1, column 5)`. Both are
/// counted from 1. For an error without a place, such as a wrong encoding, Python has line 0.
fn with_column(text: String, column: i64) -> String {
    if let Some(start) = text.strip_suffix(", line 0)") {
        return format!("{start})");
    }
    match text.strip_suffix(')').filter(|_| column > 0) {
        Some(start) if start.len() <= MAX_TEXT_WITH_COLUMN && start.contains(", line ") => {
            format!("{start}, column {column})")
        }
        _ => text,
    }
}
