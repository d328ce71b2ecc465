//! Python exceptions as plain data.
//!
//! An exception object belongs to its interpreter and may not leave the thread. What travels is
//! this: the class name, the message and, if wanted, the traceback.

mod class;
mod refusal;
mod traceback;

use std::ffi::CStr;

use pyo3_ffi as ffi;

use crate::object::{Attached, Object};
pub use class::Class;
pub use traceback::{Frame, Traceback, TracebacksWanted};

/// What is left of a Python exception once it leaves its thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Which it is an instance of.
    pub class: Class,
    /// `str(exception)`, or a sentence about why that failed.
    pub message: String,
    /// Where it came from, if that was [wanted](TracebacksWanted).
    pub traceback: Option<Box<Traceback>>,
}

impl Exception {
    /// One that Python hasn't raised, but might have. `class` is the name of a built-in one.
    #[must_use]
    pub fn new(class: &'static str, message: impl Into<String>) -> Self {
        Exception { class: Class::BuiltIn(class), message: message.into(), traceback: None }
    }

    /// Takes the exception that is set on this thread, and clears it.
    ///
    /// A C function that failed without setting one (a bug in an extension) still yields an error:
    /// `SystemError`, as CPython itself would report it.
    #[must_use]
    pub fn take(at: Attached<'_>) -> Self {
        match take_raised(at) {
            Some(raised) => Self::describe(at, &raised),
            None => Exception::new("SystemError", "a call failed without setting an exception"),
        }
    }

    fn describe(at: Attached<'_>, raised: &Object) -> Self {
        match message(at, raised) {
            Ok(mut message) => {
                if let Some(hint) = refusal::hint(at, raised)
                    && message.try_reserve(hint.len()).is_ok()
                {
                    message.push_str(hint);
                }
                Self::with_message(at, raised, message)
            }
            // Code that was interrupted, if only as it was to say what had happened to it.
            Err(Some(second)) if is_interrupt(&second) => {
                Self::with_message(at, &second, String::new())
            }
            Err(second) => {
                let second =
                    second.map_or_else(String::new, |second| Class::of(at, &second).to_string());
                let message = format!("<the exception's __str__ raised {second}>");
                Self::with_message(at, raised, message)
            }
        }
    }

    fn with_message(at: Attached<'_>, raised: &Object, message: String) -> Self {
        let traceback = TracebacksWanted::now().then(|| Box::new(traceback::describe(at, raised)));
        Exception { class: Class::of(at, raised), message, traceback }
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

/// What an exception says, or what was raised instead.
fn message(at: Attached<'_>, raised: &Object) -> Result<String, Option<Object>> {
    // SAFETY: `raised` is live and the thread attached.
    let text = unsafe { Object::from_owned(at, ffi::PyObject_Str(raised.as_ptr())) };
    let text = text.and_then(|text| lossy_text(at, &text)).ok_or_else(|| take_raised(at))?;
    Ok(match column(at, raised) {
        Some(column) => with_column(text, column),
        None => text,
    })
}

/// Whether this is what an interrupt raises.
fn is_interrupt(raised: &Object) -> bool {
    // SAFETY: `raised` is live, and Python runs.
    unsafe { ffi::Py_TYPE(raised.as_ptr()).cast() == ffi::PyExc_KeyboardInterrupt }
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

/// An integer of an object. `None`: it has none of that name, and an exception may be set.
fn integer_attribute(at: Attached<'_>, object: &Object, name: &CStr) -> Option<i64> {
    let value = object.getattr_c(at, name)?;
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

/// The text of a `str` as UTF-8; lone surrogates come out as `\udcXX` escapes instead of failing. `None`:
/// an exception is set, which is `MemoryError` if there is no memory for a copy.
#[must_use]
pub fn lossy_text(at: Attached<'_>, text: &Object) -> Option<String> {
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
    copy(slice)
}

/// A copy of text whose length comes from Python code. `None`: there is no memory, and `MemoryError` is set.
fn copy(utf8: &[u8]) -> Option<String> {
    let mut text = String::new();
    if text.try_reserve_exact(utf8.len()).is_err() {
        // SAFETY: attached, as whoever has a `str` is.
        unsafe { ffi::PyErr_NoMemory() };
        return None;
    }
    // As CPython has made it, it is UTF-8.
    text.push_str(std::str::from_utf8(utf8).unwrap_or_default());
    Some(text)
}

/// Forgets whatever exception is set.
pub fn clear(_: Attached<'_>) {
    // SAFETY: attached.
    unsafe { ffi::PyErr_Clear() };
}

/// Does something that may raise while an exception is set, which stays in its place.
pub fn aside(at: Attached<'_>, f: impl FnOnce()) {
    let raised = take_raised(at);
    f();
    clear(at);
    if let Some(raised) = raised {
        restore(raised);
    }
}

fn restore(raised: Object) {
    #[cfg(Py_3_12)]
    // SAFETY: attached, as whoever has an `Object` is; the call takes the reference over.
    unsafe {
        ffi::PyErr_SetRaisedException(raised.into_ptr());
    }
    #[cfg(not(Py_3_12))]
    // SAFETY: as above; it takes over all three references, and finds the traceback in the exception.
    unsafe {
        let class = ffi::Py_TYPE(raised.as_ptr()).cast::<ffi::PyObject>();
        ffi::Py_INCREF(class);
        let trace = ffi::PyException_GetTraceback(raised.as_ptr());
        ffi::PyErr_Restore(class, raised.into_ptr(), trace);
    }
}
