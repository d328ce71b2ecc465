//! What errors call a part of a value: where it is, and what it is.

use py_runtime::ffi;
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifTerm};

use super::text;
use crate::term::{self, print};

/// The name of an object's type, for messages.
///
/// # Safety
/// `value` is a live object and the thread is attached.
pub(super) unsafe fn type_name(value: *mut ffi::PyObject) -> String {
    // SAFETY: every type has a name that ends in NUL and lives as long as the type.
    let name = unsafe { std::ffi::CStr::from_ptr((*ffi::Py_TYPE(value)).tp_name) };
    let name = name.to_string_lossy();
    // A type made in C names its module too: `numpy.ndarray`, `datetime.date`.
    name.rsplit('.').next().unwrap_or(&name).to_owned()
}

/// `.name` for a key that reads like one, `[Key]` for others.
///
/// # Safety
/// `key` belongs to `env`.
#[cold]
pub(super) unsafe fn key_step(env: *mut ErlNifEnv, key: ErlNifTerm) -> String {
    // SAFETY: `key` belongs to `env`.
    unsafe {
        let name = term::inspect(env, key)
            .and_then(|bytes| std::str::from_utf8(bytes).ok().filter(|name| is_name(name)))
            .map(str::to_owned)
            .or_else(|| term::atom_name(env, key));
        match name {
            Some(name) if is_name(&name) => format!(".{name}"),
            _ => format!("[{}]", print(key)),
        }
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|first: char| first.is_alphabetic() || first == '_')
        && text.chars().all(|character| character.is_alphanumeric() || character == '_')
}

/// `.name` for a key that reads like one, `[key]` for others.
#[cold]
pub(super) fn object_step(py: Attached<'_>, key: &Object) -> String {
    // SAFETY: `key` is live and lends its text for the moment.
    let name = unsafe {
        if ffi::PyUnicode_CheckExact(key.as_ptr()) != 0 {
            text::utf8(py, key.as_ptr()).ok().and_then(|text| std::str::from_utf8(text).ok())
        } else {
            None
        }
    };
    match name {
        Some(name) if is_name(name) => format!(".{name}"),
        _ => format!("[{}]", show(py, key)),
    }
}

/// A key for a message: numbers, text and bytes as Python prints them, of other keys the type,
/// because their `repr` could be anything, also endless.
#[cold]
pub(super) fn show(py: Attached<'_>, key: &Object) -> String {
    const MAX_SHOWN: usize = 60;
    let ptr = key.as_ptr();
    // SAFETY: `key` is live; the exact types' `repr` runs no user code.
    unsafe {
        let plain = ffi::PyUnicode_CheckExact(ptr) != 0
            || ffi::PyBytes_CheckExact(ptr) != 0
            || ffi::PyLong_CheckExact(ptr) != 0
            || ffi::PyFloat_CheckExact(ptr) != 0;
        let shown = if plain { Object::from_owned(py, ffi::PyObject_Repr(ptr)) } else { None };
        let Some(shown) = shown.and_then(|shown| py_runtime::exception::lossy_text(py, &shown))
        else {
            py_runtime::exception::clear(py);
            return type_name(ptr);
        };
        match shown.char_indices().nth(MAX_SHOWN) {
            Some((end, _)) => format!("{}…", &shown[..end]),
            None => shown,
        }
    }
}
