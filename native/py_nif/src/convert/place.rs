//! What errors call a part of a value: where it is, and what it is.

use py_runtime::exception::{clear, lossy_text};
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifTerm};

use crate::term::{self, print};

/// The name of an object's type, for messages.
pub(super) fn type_name(py: Attached<'_>, value: &Object) -> String {
    let name = value.class_name(py);
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
    // SAFETY: `key` is live.
    let is_text = unsafe { ffi::PyUnicode_CheckExact(key.as_ptr()) != 0 };
    let text = if is_text { key.utf8(py) } else { None };
    if is_text && text.is_none() {
        clear(py);
    }
    match text.and_then(|text| std::str::from_utf8(text).ok()) {
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
    // SAFETY: `key` is live.
    let is_plain = unsafe {
        ffi::PyUnicode_CheckExact(ptr) != 0
            || ffi::PyBytes_CheckExact(ptr) != 0
            || ffi::PyLong_CheckExact(ptr) != 0
            || ffi::PyFloat_CheckExact(ptr) != 0
    };
    // The exact types' `repr` runs no user code.
    let shown = if is_plain { key.repr(py) } else { None };
    let Some(shown) = shown.and_then(|shown| lossy_text(py, &shown)) else {
        clear(py);
        return type_name(py, key);
    };
    match shown.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}
