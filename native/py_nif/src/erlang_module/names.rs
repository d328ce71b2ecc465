//! Names that Python code gives, as a `str` or an `erlang.Atom`.

use py_runtime::ffi;
use py_runtime::object::{Attached, Object};

use super::values::{Raised, raise};

/// The text of a `str` or an `erlang.Atom`.
pub(super) fn text_of(py: Attached<'_>, name: &Object) -> Result<String, Raised> {
    check_name(py, name)?;
    // SAFETY: attached; an object's `str` is one.
    let text = unsafe { Object::from_owned(py, ffi::PyObject_Str(name.as_ptr())) };
    text.and_then(|text| py_runtime::exception::lossy_text(py, &text)).ok_or(Raised)
}

/// Refuses what is neither a `str` nor an `erlang.Atom`.
pub(super) fn check_name(py: Attached<'_>, name: &Object) -> Result<(), Raised> {
    if is_name(py, name.as_ptr()) {
        return Ok(());
    }
    // SAFETY: attached; types' names end in NUL, and the class is Python's own.
    unsafe {
        let class = std::ffi::CStr::from_ptr((*ffi::Py_TYPE(name.as_ptr())).tp_name);
        let message =
            format!("a name must be a str or an erlang.Atom, not {}", class.to_string_lossy());
        Err(raise(py, ffi::PyExc_TypeError, &message))
    }
}

pub(super) fn is_name(_: Attached<'_>, name: *mut ffi::PyObject) -> bool {
    // SAFETY: attached, and the callers' objects are live; types' names end in NUL.
    unsafe { ffi::PyUnicode_Check(name) != 0 || is_of(name, c"erlang.Atom") }
}

/// Whether an object is of the type of that name.
///
/// # Safety
/// Attached, and `object` is live.
pub(super) unsafe fn is_of(object: *mut ffi::PyObject, class: &std::ffi::CStr) -> bool {
    // SAFETY: as the caller vouches; types' names end in NUL.
    unsafe { std::ffi::CStr::from_ptr((*ffi::Py_TYPE(object)).tp_name) == class }
}
