//! The entries of dictionaries, read without running Python code.

use pyo3_ffi as ffi;

use crate::cpython::object::Object;

/// The names of which `now` has another value than `before`, or none, with the values that they
/// had. Those that take next to no memory don't count.
pub(super) fn lost(
    before: &Object,
    now: &Object,
) -> impl Iterator<Item = (*mut ffi::PyObject, *mut ffi::PyObject)> {
    // SAFETY: attached, as every owner of an `Object` is, and a dictionary's values are live.
    names(before)
        .filter(|(key, value)| get(now, *key) != Some(*value) && !unsafe { is_small(*value) })
}

/// Whether a value takes next to no memory, so that it doesn't matter how long it is kept.
///
/// # Safety
/// Attached, and `value` is live.
unsafe fn is_small(value: *mut ffi::PyObject) -> bool {
    // SAFETY: as the caller vouches.
    unsafe {
        value == ffi::Py_None()
            || ffi::PyBool_Check(value) != 0
            || ffi::PyLong_CheckExact(value) != 0
            || ffi::PyFloat_CheckExact(value) != 0
    }
}

/// The value of a key, which is text. Borrowed from the dictionary.
pub(super) fn get(dict: &Object, key: *mut ffi::PyObject) -> Option<*mut ffi::PyObject> {
    // SAFETY: attached, as every owner of an `Object` is; comparing text can't fail.
    let value = unsafe { ffi::PyDict_GetItemWithError(dict.as_ptr(), key) };
    (!value.is_null()).then_some(value)
}

/// The entries of a dictionary that names can find: those of other keys might run code when they
/// are compared.
pub(super) fn names(
    dict: &Object,
) -> impl Iterator<Item = (*mut ffi::PyObject, *mut ffi::PyObject)> + use<'_> {
    pairs(dict).filter(|(key, _)| is_text(*key))
}

pub(super) fn is_text(key: *mut ffi::PyObject) -> bool {
    // SAFETY: a live key of a dictionary that the caller keeps alive.
    unsafe { ffi::PyUnicode_CheckExact(key) != 0 }
}

/// Runs `work` while no other thread changes the dictionary. With a GIL none can, as long as no
/// Python code runs.
pub(super) fn locked<T>(dict: &Object, work: impl FnOnce() -> T) -> T {
    #[cfg(Py_GIL_DISABLED)]
    // SAFETY: attached, as every owner of an `Object` is; the section is on this stack and ended
    // before the function returns.
    unsafe {
        let mut section = std::mem::MaybeUninit::uninit();
        ffi::PyCriticalSection_Begin(section.as_mut_ptr(), dict.as_ptr());
        let result = work();
        ffi::PyCriticalSection_End(section.as_mut_ptr());
        result
    }
    #[cfg(not(Py_GIL_DISABLED))]
    {
        let _ = dict;
        work()
    }
}

/// The entries of a dictionary, which must not be changed meanwhile.
pub(crate) fn pairs(
    dict: &Object,
) -> impl Iterator<Item = (*mut ffi::PyObject, *mut ffi::PyObject)> + use<'_> {
    let mut place = 0;
    std::iter::from_fn(move || {
        let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: attached, as every owner of an `Object` is; it is a dictionary.
        let found = unsafe {
            ffi::PyDict_Next(dict.as_ptr(), &raw mut place, &raw mut key, &raw mut value)
        };
        (found != 0).then_some((key, value))
    })
}
