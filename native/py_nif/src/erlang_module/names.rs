//! Names that Python code gives, as a `str` or an `erlang.Atom`.

use py_runtime::exception::ErrorClass;
use py_runtime::object::{Attached, Object};

use super::values::{Raised, raise};

/// The text of a `str` or an `erlang.Atom`.
pub(super) fn text_of(py: Attached<'_>, name: &Object) -> Result<String, Raised> {
    check_name(py, name)?;
    let text = name.str(py);
    text.and_then(|text| py_runtime::exception::lossy_text(py, &text)).ok_or(Raised)
}

/// Refuses what is neither a `str` nor an `erlang.Atom`.
pub(super) fn check_name(py: Attached<'_>, name: &Object) -> Result<(), Raised> {
    if is_name(py, name) {
        return Ok(());
    }
    let class = name.class_name(py);
    let message = format!("a name must be a str or an erlang.Atom, not {class}");
    Err(raise(py, ErrorClass::TypeError, &message))
}

pub(super) fn is_name(py: Attached<'_>, name: &Object) -> bool {
    name.is_text() || name.has_class_name(py, c"erlang.Atom")
}
