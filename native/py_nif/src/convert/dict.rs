//! Dicts to maps, or to the pairs of which their caller makes a map.
//!
//! As in `py_to_term`, keys and values are kept by references of our own while they are converted,
//! and a dict that changed meanwhile is refused. Must never make a map that is smaller than its
//! dict.

use py_runtime::ffi;
use py_runtime::object::Object;
use rustler::sys::{
    ErlNifTerm, enif_make_copy, enif_make_list_from_array, enif_make_tuple_from_array,
};

use super::build_map::{build_map, max_at_once};
use super::fail::{Fail, descend};
use super::place::{object_step, show};
use super::writer::Writer;
use crate::term::TermEnv;

/// # Safety
/// `dict` is a live dict, or an instance of a subclass, that the caller keeps alive.
pub(super) unsafe fn dict_to_term(
    writer: &mut Writer<'_>,
    dict: *mut ffi::PyObject,
    depth_left: u32,
) -> Result<ErlNifTerm, Fail> {
    // SAFETY: as the caller vouches.
    unsafe {
        #[cfg(Py_GIL_DISABLED)]
        // Walking a dict that other threads can change needs a lock for the whole walk; a copy
        // needs it for the moment of copying.
        let copy = super::fail::owned_or_raised(writer.py, ffi::PyDict_Copy(dict))?;
        #[cfg(Py_GIL_DISABLED)]
        let dict = copy.as_ptr();
        let size = ffi::PyDict_Size(dict) as usize;
        if size <= max_at_once() || writer.in_scratch {
            return pairs_to_term(writer, dict, size, depth_left);
        }
        // A map that is made key by key leaves each of its former selves behind.
        let scratch = TermEnv::new();
        let env = std::mem::replace(&mut writer.env, scratch.as_ptr());
        writer.in_scratch = true;
        let map = pairs_to_term(writer, dict, size, depth_left);
        writer.in_scratch = false;
        writer.env = env;
        let map = enif_make_copy(env, map?);
        writer.scratch = Some(scratch);
        Ok(map)
    }
}

/// A list of pairs for a dict, which makes a map of as many: its keys are distinct in Erlang, too.
/// `None`: it is no such dict, or the map can be made here.
///
/// # Safety
/// `dict` is a live object that the caller keeps alive.
pub(super) unsafe fn dict_to_pairs(
    writer: &mut Writer<'_>,
    dict: *mut ffi::PyObject,
    depth_left: u32,
) -> Result<Option<ErlNifTerm>, Fail> {
    // SAFETY: as the caller vouches; a dict is looked at as one.
    unsafe {
        if ffi::PyDict_CheckExact(dict) == 0 {
            return Ok(None);
        }
        #[cfg(Py_GIL_DISABLED)]
        // As in `dict_to_term`.
        let copy = super::fail::owned_or_raised(writer.py, ffi::PyDict_Copy(dict))?;
        #[cfg(Py_GIL_DISABLED)]
        let dict = copy.as_ptr();
        let size = ffi::PyDict_Size(dict) as usize;
        if size <= max_at_once() || size > MAX_PAIRS || !has_distinct_keys(dict) {
            return Ok(None);
        }
        let start = pairs_to_parts(writer, dict, size, descend(depth_left)?)?;
        for index in start..start + size {
            let pair = [writer.parts[index], writer.parts[index + size]];
            writer.parts[index] = enif_make_tuple_from_array(writer.env, pair.as_ptr(), 2);
        }
        let pairs = enif_make_list_from_array(
            writer.env,
            writer.parts[start..].as_ptr(),
            u32::try_from(size).expect("at most MAX_PAIRS"),
        );
        writer.parts.truncate(start);
        Ok(Some(pairs))
    }
}

/// How many pairs a caller makes a map of, without a pause: that takes some 0.1 µs each.
const MAX_PAIRS: usize = 1 << 14;

/// Whether all keys are texts, or all integers, which are distinct in Erlang as they are in Python.
///
/// # Safety
/// `dict` is a live dict, which nobody but this thread can change.
unsafe fn has_distinct_keys(dict: *mut ffi::PyObject) -> bool {
    let (mut texts, mut integers) = (true, true);
    let mut position = 0;
    let mut key = std::ptr::null_mut();
    // SAFETY: as the caller vouches; keys are borrowed from the dict, and no Python code runs.
    unsafe {
        while (texts || integers)
            && ffi::PyDict_Next(dict, &raw mut position, &raw mut key, std::ptr::null_mut()) != 0
        {
            texts &= ffi::PyUnicode_CheckExact(key) != 0;
            integers &= ffi::PyLong_CheckExact(key) != 0;
        }
    }
    texts || integers
}

/// # Safety
/// As for [`dict_to_term`]; nobody but this thread can change the dict.
#[inline(never)]
unsafe fn pairs_to_term(
    writer: &mut Writer<'_>,
    dict: *mut ffi::PyObject,
    size: usize,
    depth_left: u32,
) -> Result<ErlNifTerm, Fail> {
    // SAFETY: passed on to the caller.
    unsafe {
        let start = pairs_to_parts(writer, dict, size, depth_left)?;
        let (keys, values) = writer.parts[start..].split_at(size);
        let term = build_map(writer.env, keys, values)?;
        writer.parts.truncate(start);
        Ok(term)
    }
}

/// Converts keys and values: from the place that is returned on, the writer's parts are the keys,
/// then the values.
///
/// # Safety
/// As for [`pairs_to_term`].
#[inline(always)]
unsafe fn pairs_to_parts(
    writer: &mut Writer<'_>,
    dict: *mut ffi::PyObject,
    size: usize,
    depth_left: u32,
) -> Result<usize, Fail> {
    let py = writer.py;
    // Parts of keys and values come after them and are removed again.
    let start = writer.parts.len();
    if writer.parts.try_reserve(2 * size).is_err() {
        return Err(Fail::no_memory(py));
    }
    writer.parts.resize(start + 2 * size, ErlNifTerm::default());
    let mut count = 0;
    let mut position = 0;
    let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the walk stops as soon as the dict's size isn't what it was, and `PyDict_Next` checks
    // its position against the dict as it is; keys and values are looked at only through
    // references of our own.
    unsafe {
        while ffi::PyDict_Next(dict, &raw mut position, &raw mut key, &raw mut value) != 0 {
            let (Some(key), Some(value)) =
                (Object::from_borrowed(py, key), Object::from_borrowed(py, value))
            else {
                break;
            };
            if count == size || ffi::PyDict_Size(dict) as usize != size {
                return Err(changed_dict());
            }
            let term = match writer.value(key.as_ptr(), depth_left) {
                Ok(term) => term,
                Err(fail) => return Err(fail.in_element(|| format!(".key({})", show(py, &key)))),
            };
            writer.parts[start + count] = term;
            let term = match writer.value(value.as_ptr(), depth_left) {
                Ok(term) => term,
                Err(fail) => return Err(fail.in_element(|| object_step(py, &key))),
            };
            writer.parts[start + size + count] = term;
            count += 1;
        }
        if count != size || ffi::PyDict_Size(dict) as usize != size {
            return Err(changed_dict());
        }
        Ok(start)
    }
}

#[cold]
fn changed_dict() -> Fail {
    Fail::refuse("dict that changed while it was converted")
}
