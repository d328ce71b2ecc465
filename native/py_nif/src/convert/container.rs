//! Lists, tuples and maps, both ways.
//!
//! Runs on a context thread, attached. Converting an element may run Python code (a numpy scalar's
//! `__index__`) or let another thread in, so a container can change under our hands: an element is
//! held by a reference of our own while it is converted, and a container that changed its size is
//! refused. Must never make a map or a dict that is smaller than what it was made from.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};

use py_runtime::object::{Attached, Object};
use pyo3_ffi as ffi;
use rustler::sys::{
    ErlNifEnv, ErlNifMapIterator, ErlNifMapIteratorEntry, ErlNifTerm, ErlNifTermType,
    enif_get_list_cell, enif_get_list_length, enif_get_map_size, enif_get_map_value,
    enif_get_tuple, enif_make_copy, enif_make_list_cell, enif_make_list_from_array,
    enif_make_map_from_arrays, enif_make_map_put, enif_make_tuple_from_array,
    enif_map_iterator_create, enif_map_iterator_destroy, enif_map_iterator_get_pair,
    enif_map_iterator_next,
};

use super::py_to_term::Writer;
use super::term_to_py::{Reader, deeper};
use super::{
    Fail, buffer, key_step, made, number, object_step, opaque, show, tensor, text, type_name,
};
use crate::term::OwnedEnv;

/// How many keys a map may have to be made in one go on this thread.
///
/// More than 128 crash the VM before OTP 27.3: it sorts them with the help of a scheduler's random
/// numbers, and this is no scheduler's thread (otp#8208).
static MOST_AT_ONCE: AtomicUsize = AtomicUsize::new(128);

/// The runtime system of OTP 27.3, the first without that limit.
const WITHOUT_LIMIT: [u32; 3] = [15, 2, 3];

/// Takes the version of the runtime system, as `erlang:system_info(version)` tells it.
pub(crate) fn know_runtime(version: &str) {
    // What follows a number ("rc1") doesn't matter, and what is missing is 0.
    let mut parts = version.split(|character: char| !character.is_ascii_digit());
    let version =
        WITHOUT_LIMIT.map(|_| parts.next().and_then(|part| part.parse().ok()).unwrap_or(0));
    if version >= WITHOUT_LIMIT {
        MOST_AT_ONCE.store(usize::MAX, Ordering::Relaxed);
    }
}

/// The VM's header word for a tuple has 24 bits for the arity; what happens beyond is undefined.
const MAX_ARITY: usize = (1 << 24) - 1;

/// # Safety
/// `list` is a list of the reader's environment, proper or not.
pub(super) unsafe fn list_to_python(
    reader: Reader<'_>,
    list: ErlNifTerm,
    room: u32,
) -> Result<Object, Fail> {
    let mut length = 0;
    // SAFETY: `list` belongs to `env`, so its elements do. The new Python list has `length` empty
    // places, and each is filled once.
    unsafe {
        if enif_get_list_length(reader.env, list, &raw mut length) == 0 {
            return Err(Fail::refuse("improper list"));
        }
        let object = made(reader.py, ffi::PyList_New(length as ffi::Py_ssize_t))?;
        let (mut head, mut rest) = (list, list);
        let mut like = ErlNifTermType::ERL_NIF_TERM_TYPE_INTEGER;
        for index in 0..length as ffi::Py_ssize_t {
            enif_get_list_cell(reader.env, rest, &raw mut head, &raw mut rest);
            let value = match reader.next_value(&mut like, head, room) {
                Ok(value) => value,
                Err(fail) => return Err(fail.under(|| format!("[{index}]"))),
            };
            ffi::PyList_SET_ITEM(object.as_ptr(), index, value.into_ptr());
        }
        Ok(object)
    }
}

/// What isn't a tuple though it is written as one: `{bytes, Binary}`, `{buffer, Binary}` and
/// `{ndarray, DType, Shape, Binary}`. Takes no level of nesting.
///
/// # Safety
/// The elements are terms of the reader's environment.
unsafe fn tagged_to_python(
    reader: Reader<'_>,
    elements: &[ErlNifTerm],
    room: u32,
) -> Option<Result<Object, Fail>> {
    let known = &reader.types.known;
    // SAFETY: passed on to the caller.
    unsafe {
        match *elements {
            [tag, binary] if tag == known.bytes => text::inspect(reader.env, binary)
                .map(|bytes| text::bytes_to_python(reader.py, bytes)),
            [tag, binary] if tag == known.buffer => buffer::to_python(reader, binary),
            [tag, dtype, shape, data] if tag == known.ndarray => {
                tensor::to_python(reader, [dtype, shape, data], room)
            }
            _ => None,
        }
    }
}

/// A tuple, or what is [tagged](tagged_to_python) like one.
///
/// # Safety
/// `tuple` is a tuple of the reader's environment.
pub(super) unsafe fn tuple_to_python(
    reader: Reader<'_>,
    tuple: ErlNifTerm,
    room: u32,
) -> Result<Object, Fail> {
    let mut arity = 0;
    let mut elements = std::ptr::null();
    // SAFETY: `tuple` belongs to `env` and is a tuple, so arity and elements are written and live
    // as long. The new Python tuple has as many places, and each is filled once.
    unsafe {
        enif_get_tuple(reader.env, tuple, &raw mut arity, &raw mut elements);
        let elements =
            if arity == 0 { &[] } else { std::slice::from_raw_parts(elements, arity as usize) };
        if let Some(special) = tagged_to_python(reader, elements, room) {
            return special;
        }
        let room = deeper(room)?;
        let object = made(reader.py, ffi::PyTuple_New(arity as ffi::Py_ssize_t))?;
        for (index, &element) in elements.iter().enumerate() {
            let value = match reader.value(element, room) {
                Ok(value) => value,
                Err(fail) => return Err(fail.under(|| format!("[{index}]"))),
            };
            ffi::PyTuple_SET_ITEM(object.as_ptr(), index as ffi::Py_ssize_t, value.into_ptr());
        }
        Ok(object)
    }
}

/// Walks a map. The VM may have allocated for the walk, so it must be told of its end.
pub(crate) struct Pairs {
    env: *mut ErlNifEnv,
    iterator: MaybeUninit<ErlNifMapIterator>,
}

impl Pairs {
    /// `None`: the term is no map.
    ///
    /// # Safety
    /// `map` is a term of `env`, and stays while the walk does.
    pub(crate) unsafe fn new(env: *mut ErlNifEnv, map: ErlNifTerm) -> Option<Self> {
        let mut iterator = MaybeUninit::uninit();
        let head = ErlNifMapIteratorEntry::ERL_NIF_MAP_ITERATOR_HEAD;
        // SAFETY: as the caller vouches. The iterator is initialised if the call says so.
        let is_map =
            unsafe { enif_map_iterator_create(env, map, iterator.as_mut_ptr(), head) } != 0;
        // Made only then, because its destructor looks at the iterator.
        is_map.then(|| Pairs { env, iterator })
    }
}

impl Iterator for Pairs {
    type Item = (ErlNifTerm, ErlNifTerm);

    fn next(&mut self) -> Option<Self::Item> {
        let (mut key, mut value) = (ErlNifTerm::default(), ErlNifTerm::default());
        let iterator = self.iterator.as_mut_ptr();
        // SAFETY: initialised by `new`; at the end there is no pair to get.
        unsafe {
            if enif_map_iterator_get_pair(self.env, iterator, &raw mut key, &raw mut value) == 0 {
                return None;
            }
            enif_map_iterator_next(self.env, iterator);
        }
        Some((key, value))
    }
}

impl Drop for Pairs {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, and destroyed only here.
        unsafe { enif_map_iterator_destroy(self.env, self.iterator.as_mut_ptr()) };
    }
}

/// # Safety
/// `map` is a map of the reader's environment.
pub(super) unsafe fn map_to_python(
    reader: Reader<'_>,
    map: ErlNifTerm,
    room: u32,
) -> Result<Object, Fail> {
    let Reader { py, env, .. } = reader;
    let mut name = ErlNifTerm::default();
    // SAFETY: `map` belongs to `env`, so its keys and values do; attached.
    unsafe {
        if enif_get_map_value(env, map, reader.types.known.r#struct, &raw mut name) != 0 {
            return struct_to_python(reader, map, name);
        }
        let dict = made(py, ffi::PyDict_New())?;
        for (count, (key, value)) in Pairs::new(env, map).into_iter().flatten().enumerate() {
            let place = || key_step(env, key);
            let name = match reader.key(key, room) {
                Ok(name) => name,
                Err(fail) => return Err(fail.under(|| format!(".key({})", opaque::print(key)))),
            };
            let value = match reader.value(value, room) {
                Ok(value) => value,
                Err(fail) => return Err(fail.under(place)),
            };
            if ffi::PyDict_SetItem(dict.as_ptr(), name.as_ptr(), value.as_ptr()) != 0 {
                return Err(refuse_key(py, &name).under(place));
            }
            // Equal in Python though not in Erlang: `a` and `<<"a">>`, 1 and 1.0, true and 1.
            if ffi::PyDict_Size(dict.as_ptr()) as usize != count + 1 {
                return Err(Fail::refuse("key that equals another one in Python").under(place));
            }
        }
        Ok(dict)
    }
}

/// A struct of Elixir stands for something that its fields alone don't say. The one that Python
/// knows is `%Py.Object{ref: Handle}`.
///
/// # Safety
/// `map` is a map of the reader's environment, with `name` for its `__struct__`.
#[cold]
#[inline(never)]
unsafe fn struct_to_python(
    reader: Reader<'_>,
    map: ErlNifTerm,
    name: ErlNifTerm,
) -> Result<Object, Fail> {
    let Reader { env, types, .. } = reader;
    let mut handle = ErlNifTerm::default();
    // SAFETY: `map` belongs to `env`, so its values do.
    unsafe {
        if name != types.known.py_object {
            let name = text::atom_name(env, name).unwrap_or_default();
            let name = name.strip_prefix("Elixir.").unwrap_or(&name);
            return Err(Fail::refuse(format!("struct {name}").trim_end()));
        }
        if enif_get_map_value(env, map, types.known.r#ref, &raw mut handle) == 0 {
            return Err(Fail::refuse("struct Py.Object, without a handle of this node"));
        }
        match reader.object(handle)? {
            Some(object) => Ok(object),
            None => Err(Fail::refuse("struct Py.Object, without a handle of this node")),
        }
    }
}

/// Python keeps lists and dicts from being keys, alone or within a tuple.
#[cold]
fn refuse_key(py: Attached<'_>, key: &Object) -> Fail {
    // SAFETY: attached, with an exception set.
    if unsafe { ffi::PyErr_ExceptionMatches(ffi::PyExc_TypeError) } == 0 {
        return Fail::raised(py);
    }
    py_runtime::exception::clear(py);
    // SAFETY: `key` is live.
    let class = unsafe { type_name(key.as_ptr()) };
    let within = if class == "tuple" { " with a list or dict in it" } else { "" };
    Fail::refuse(format!("{class}{within} as a key, which Python can't hash"))
}

/// # Safety
/// `list` is a live list, or an instance of a subclass, that the caller keeps alive.
pub(super) unsafe fn list_to_term(
    writer: &mut Writer<'_>,
    list: *mut ffi::PyObject,
    room: u32,
) -> Result<ErlNifTerm, Fail> {
    // SAFETY: `list` is a live list; an element is looked at only through a reference of our own.
    unsafe {
        let length = ffi::PyList_GET_SIZE(list);
        let Ok(count) = u32::try_from(length) else {
            return Err(Fail::refuse("list of more than 2^32 elements"));
        };
        let start = writer.parts.len();
        if writer.parts.try_reserve(count as usize).is_err() {
            return Err(Fail::no_memory(writer.py));
        }
        for index in 0..length {
            let Some(item) = list_item(writer.py, list, index) else { break };
            let term = match number::plain_to_term(writer.env, item.as_ptr()) {
                Some(term) => term,
                None => match writer.value(item.as_ptr(), room) {
                    Ok(term) => term,
                    Err(fail) => return Err(fail.under(|| format!("[{index}]"))),
                },
            };
            writer.parts.push(term);
        }
        if ffi::PyList_GET_SIZE(list) != length || writer.parts.len() - start != count as usize {
            return Err(Fail::refuse("list that changed while it was converted"));
        }
        let term = enif_make_list_from_array(writer.env, writer.parts[start..].as_ptr(), count);
        writer.parts.truncate(start);
        Ok(term)
    }
}

/// A reference of our own to an element; `None` when the list has shrunk.
///
/// # Safety
/// `list` is a live list.
unsafe fn list_item(
    py: Attached<'_>,
    list: *mut ffi::PyObject,
    index: ffi::Py_ssize_t,
) -> Option<Object> {
    #[cfg(not(Py_GIL_DISABLED))]
    // SAFETY: attached, so nobody changes the list between the check and the reference.
    unsafe {
        if index >= ffi::PyList_GET_SIZE(list) {
            return None;
        }
        Object::from_borrowed(py, ffi::PyList_GET_ITEM(list, index))
    }
    #[cfg(Py_GIL_DISABLED)]
    // SAFETY: the call takes its reference atomically, other threads notwithstanding.
    unsafe {
        let item = Object::from_owned(py, ffi::PyList_GetItemRef(list, index));
        if item.is_none() {
            py_runtime::exception::clear(py);
        }
        item
    }
}

/// # Safety
/// `tuple` is a live tuple, or an instance of a subclass, that the caller keeps alive.
pub(super) unsafe fn tuple_to_term(
    writer: &mut Writer<'_>,
    tuple: *mut ffi::PyObject,
    room: u32,
) -> Result<ErlNifTerm, Fail> {
    // SAFETY: `tuple` is a live tuple. It never changes, so it keeps its elements alive. Theirs is the
    // tuple's reference, so that a count of one says nothing of who else has an element.
    unsafe {
        let arity = ffi::PyTuple_GET_SIZE(tuple);
        if arity as usize > MAX_ARITY {
            return Err(Fail::refuse(format!(
                "tuple of {arity} elements: Erlang's limit is 2^24-1"
            )));
        }
        let start = writer.parts.len();
        if writer.parts.try_reserve(arity as usize).is_err() {
            return Err(Fail::no_memory(writer.py));
        }
        for index in 0..arity {
            let term = match writer.value(ffi::PyTuple_GET_ITEM(tuple, index), room) {
                Ok(term) => term,
                Err(fail) => return Err(fail.under(|| format!("[{index}]"))),
            };
            writer.parts.push(term);
        }
        let elements = writer.parts[start..].as_ptr();
        let term = enif_make_tuple_from_array(writer.env, elements, arity as u32);
        writer.parts.truncate(start);
        Ok(term)
    }
}

/// # Safety
/// `dict` is a live dict, or an instance of a subclass, that the caller keeps alive.
pub(super) unsafe fn dict_to_term(
    writer: &mut Writer<'_>,
    dict: *mut ffi::PyObject,
    room: u32,
) -> Result<ErlNifTerm, Fail> {
    // SAFETY: as the caller vouches.
    unsafe {
        #[cfg(Py_GIL_DISABLED)]
        // Walking a dict that other threads can change needs a lock for the whole walk; a copy
        // needs it for the moment of copying.
        let copy = made(writer.py, ffi::PyDict_Copy(dict))?;
        #[cfg(Py_GIL_DISABLED)]
        let dict = copy.as_ptr();
        let size = ffi::PyDict_Size(dict) as usize;
        if size <= MOST_AT_ONCE.load(Ordering::Relaxed) || writer.in_scratch {
            return pairs_to_term(writer, dict, size, room);
        }
        // A map that is made key by key leaves each of its former selves behind.
        let scratch = OwnedEnv::new();
        let env = std::mem::replace(&mut writer.env, scratch.as_ptr());
        writer.in_scratch = true;
        let map = pairs_to_term(writer, dict, size, room);
        writer.in_scratch = false;
        writer.env = env;
        let map = enif_make_copy(env, map?);
        writer.scratch = Some(scratch);
        Ok(map)
    }
}

/// # Safety
/// As for [`dict_to_term`]; nobody but this thread can change the dict.
#[inline(never)]
unsafe fn pairs_to_term(
    writer: &mut Writer<'_>,
    dict: *mut ffi::PyObject,
    size: usize,
    room: u32,
) -> Result<ErlNifTerm, Fail> {
    let py = writer.py;
    // First the keys, then the values; what their parts take comes after them and goes again.
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
            let term = match writer.value(key.as_ptr(), room) {
                Ok(term) => term,
                Err(fail) => return Err(fail.under(|| format!(".key({})", show(py, &key)))),
            };
            writer.parts[start + count] = term;
            let term = match writer.value(value.as_ptr(), room) {
                Ok(term) => term,
                Err(fail) => return Err(fail.under(|| object_step(py, &key))),
            };
            writer.parts[start + size + count] = term;
            count += 1;
        }
        if count != size || ffi::PyDict_Size(dict) as usize != size {
            return Err(changed_dict());
        }
        let (keys, values) = writer.parts[start..].split_at(size);
        let term = build_map(writer.env, keys, values)?;
        writer.parts.truncate(start);
        Ok(term)
    }
}

#[cold]
fn changed_dict() -> Fail {
    Fail::refuse("dict that changed while it was converted")
}

/// A map from as many keys as values.
///
/// # Safety
/// The terms belong to `env`, which may be written to.
#[inline(never)]
unsafe fn build_map(
    env: *mut ErlNifEnv,
    keys: &[ErlNifTerm],
    values: &[ErlNifTerm],
) -> Result<ErlNifTerm, Fail> {
    let at_once = keys.len().min(MOST_AT_ONCE.load(Ordering::Relaxed));
    let mut map = ErlNifTerm::default();
    // SAFETY: both slices have that many terms, and all terms belong to `env`. A map that is broken
    // because two of many keys are equal (otp#10975) is smaller than it should be, and given up.
    unsafe {
        let (keys_start, values_start) = (keys.as_ptr(), values.as_ptr());
        if enif_make_map_from_arrays(env, keys_start, values_start, at_once, &raw mut map) != 0 {
            for (key, value) in keys[at_once..].iter().zip(&values[at_once..]) {
                // The VM has each map in a block of memory of its own, unless the last block has
                // room. For a cell it makes one with room for some maps more.
                enif_make_list_cell(env, *key, *value);
                enif_make_map_put(env, map, *key, *value, &raw mut map);
            }
            let mut made = 0;
            enif_get_map_size(env, map, &raw mut made);
            if made == keys.len() {
                return Ok(map);
            }
        }
    }
    // Equal in Erlang though not in Python: "a" and b"a", None and Atom("none").
    // SAFETY: the terms are live.
    let twice = unsafe { first_twice(keys) };
    Err(Fail::refuse(format!("dict with two keys that are both {twice} in Erlang")))
}

/// Prints the first key that occurs twice. Only for messages: it compares each with each.
///
/// # Safety
/// The terms are live.
#[cold]
unsafe fn first_twice(keys: &[ErlNifTerm]) -> String {
    let mut keys = keys.to_vec();
    // SAFETY: the terms are live.
    unsafe {
        keys.sort_by(|&one, &other| rustler::sys::enif_compare(one, other).cmp(&0));
        keys.windows(2)
            .find(|two| rustler::sys::enif_is_identical(two[0], two[1]) != 0)
            .map_or_else(|| "the same".to_owned(), |two| opaque::print(two[0]))
    }
}
