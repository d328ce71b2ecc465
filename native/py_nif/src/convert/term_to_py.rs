//! Erlang term → Python object: looks at the term's type once and hands it to the right file.
//!
//! Runs on a context thread, attached. Must never recurse on the length of a list, only on nesting,
//! and never deeper than its `depth_left`.

use py_runtime::exception::{ErrorClass, clear};
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};
use rustler::sys::{
    ErlNifTerm, ErlNifTermType, enif_get_double, enif_get_int64, enif_get_list_cell,
    enif_get_list_length, enif_get_map_value, enif_get_tuple, enif_term_type,
};

use super::fail::{Fail, descend, owned_or_raised};
use super::handles::HandleLookup;
use super::place::{key_step, type_name};
use super::reader::Reader;
use super::{foreign, number, tensor, text};
use crate::erlang_types::{buffer, pid_ref};
use crate::request::error::ConvertError;
use crate::term::{self, Pairs, print};

impl Reader<'_> {
    /// The object for `term`, which may nest `depth_left` levels of containers.
    ///
    /// # Safety
    /// `term` belongs to this reader's environment, which nobody else changes meanwhile.
    pub(super) unsafe fn value(self, term: ErlNifTerm, depth_left: u32) -> Result<Object, Fail> {
        // SAFETY: passed on to the caller.
        unsafe { self.typed(enif_term_type(self.env, term), term, depth_left) }
    }

    /// As [`value`](Self::value), for a key of a map.
    ///
    /// # Safety
    /// As for `value`.
    pub(super) unsafe fn key(self, term: ErlNifTerm, depth_left: u32) -> Result<Object, Fail> {
        // SAFETY: passed on to the caller.
        unsafe {
            match enif_term_type(self.env, term) {
                ErlNifTermType::ERL_NIF_TERM_TYPE_ATOM => text::atom_key_to_python(self, term),
                kind => self.typed(kind, term, depth_left),
            }
        }
    }

    /// As [`value`](Self::value), for one of many that are probably of one type: numbers like the
    /// one before are read without asking for their type.
    ///
    /// # Safety
    /// As for `value`.
    #[inline]
    pub(super) unsafe fn next_value(
        self,
        like: &mut ErlNifTermType,
        term: ErlNifTerm,
        depth_left: u32,
    ) -> Result<Object, Fail> {
        let (mut int, mut float) = (0, 0.0);
        // SAFETY: as for `value`; a term of another type is left alone.
        unsafe {
            match *like {
                ErlNifTermType::ERL_NIF_TERM_TYPE_INTEGER
                    if enif_get_int64(self.env, term, &raw mut int) != 0 =>
                {
                    owned_or_raised(self.py, ffi::PyLong_FromLongLong(int))
                }
                ErlNifTermType::ERL_NIF_TERM_TYPE_FLOAT
                    if enif_get_double(self.env, term, &raw mut float) != 0 =>
                {
                    owned_or_raised(self.py, ffi::PyFloat_FromDouble(float))
                }
                _ => {
                    *like = enif_term_type(self.env, term);
                    self.typed(*like, term, depth_left)
                }
            }
        }
    }

    /// # Safety
    /// As for [`value`](Self::value); the type is the term's.
    unsafe fn typed(
        self,
        kind: ErlNifTermType,
        term: ErlNifTerm,
        depth_left: u32,
    ) -> Result<Object, Fail> {
        use ErlNifTermType::*;
        // SAFETY: the caller vouches that `term` belongs to `env`; each reader below is given a
        // term of the type that it asks for.
        unsafe {
            match kind {
                ERL_NIF_TERM_TYPE_INTEGER => number::int_to_python(self.py, self.env, term),
                ERL_NIF_TERM_TYPE_BITSTRING => text::binary_to_python(self, term),
                ERL_NIF_TERM_TYPE_ATOM => text::atom_to_python(self, term),
                ERL_NIF_TERM_TYPE_FLOAT => number::float_to_python(self.py, self.env, term),
                ERL_NIF_TERM_TYPE_LIST => list_to_python(self, term, descend(depth_left)?),
                ERL_NIF_TERM_TYPE_TUPLE => tuple_to_python(self, term, depth_left),
                ERL_NIF_TERM_TYPE_MAP => map_to_python(self, term, descend(depth_left)?),
                ERL_NIF_TERM_TYPE_PID => self.pid_or_ref(&self.types.pid, term),
                ERL_NIF_TERM_TYPE_REFERENCE => self.reference(term),
                ERL_NIF_TERM_TYPE_FUN => Err(Fail::refuse("fun")),
                ERL_NIF_TERM_TYPE_PORT => Err(Fail::refuse("port")),
                _ => Err(Fail::refuse("term of an unknown type")),
            }
        }
    }

    /// An object behind a handle, or an `erlang.Ref`.
    ///
    /// # Safety
    /// As for [`Reader::value`]; `term` is a reference.
    unsafe fn reference(self, term: ErlNifTerm) -> Result<Object, Fail> {
        // SAFETY: passed on to the caller.
        match unsafe { self.object(term) }? {
            Some(object) => Ok(object),
            // SAFETY: as above.
            None => unsafe { self.pid_or_ref(&self.types.reference, term) },
        }
    }

    /// The object behind a handle; `None` if the term is no handle.
    ///
    /// # Safety
    /// As for [`Reader::value`].
    pub(super) unsafe fn object(self, term: ErlNifTerm) -> Result<Option<Object>, Fail> {
        // SAFETY: passed on to the caller; the thread is attached to the context's interpreter.
        match unsafe { self.handles.find_object(self.py, self.env, term) } {
            HandleLookup::Object(object) => Ok(Some(object)),
            // SAFETY: as above.
            HandleLookup::NotAHandle if unsafe { foreign::is_foreign_handle(self.env, term) } => {
                Err(Fail::of(ConvertError::WrongContext))
            }
            HandleLookup::NotAHandle => Ok(None),
            HandleLookup::OtherInterpreter => Err(Fail::of(ConvertError::WrongContext)),
            HandleLookup::Gone => Err(Fail::of(ConvertError::ObjectGone)),
        }
    }

    /// # Safety
    /// As for [`Reader::value`]; `term` is a pid or a reference, and `class` the type for it.
    unsafe fn pid_or_ref(self, class: &Object, term: ErlNifTerm) -> Result<Object, Fail> {
        // SAFETY: passed on to the caller.
        let object = unsafe { pid_ref::new(self.py, class, self.env, term) };
        object.ok_or_else(|| Fail::raised(self.py))
    }

    /// An `erlang.Buffer`. `None`: the term is no binary.
    ///
    /// # Safety
    /// As for [`Reader::value`].
    unsafe fn buffer(self, term: ErlNifTerm) -> Option<Result<Object, Fail>> {
        // SAFETY: passed on to the caller.
        let object = unsafe {
            term::inspect(self.env, term)?;
            buffer::new(self.py, &self.types.buffer, term)
        };
        Some(object.ok_or_else(|| Fail::raised(self.py)))
    }

    /// An array. `None`: the three terms aren't those of one.
    ///
    /// # Safety
    /// As for [`Reader::value`].
    unsafe fn array(
        self,
        [dtype, shape, data]: [ErlNifTerm; 3],
        depth_left: u32,
    ) -> Option<Result<Object, Fail>> {
        // SAFETY: passed on to the caller.
        unsafe {
            let length = term::inspect(self.env, data)?.len();
            Some(self.buffer(data)?.and_then(|bytes| {
                let dtype = self.value(dtype, depth_left)?;
                let shape = self.value(shape, descend(depth_left)?)?;
                tensor::array(self.py, &dtype, &shape, &bytes, length)
            }))
        }
    }
}

/// # Safety
/// `list` is a list of the reader's environment, proper or not.
unsafe fn list_to_python(
    reader: Reader<'_>,
    list: ErlNifTerm,
    depth_left: u32,
) -> Result<Object, Fail> {
    let mut length = 0;
    // SAFETY: `list` belongs to `env`, so its elements do. The new Python list has `length` empty
    // places, and each is filled once.
    unsafe {
        if enif_get_list_length(reader.env, list, &raw mut length) == 0 {
            return Err(Fail::refuse("improper list"));
        }
        let object = owned_or_raised(reader.py, ffi::PyList_New(length as ffi::Py_ssize_t))?;
        let (mut head, mut rest) = (list, list);
        let mut like = ErlNifTermType::ERL_NIF_TERM_TYPE_INTEGER;
        for index in 0..length as ffi::Py_ssize_t {
            enif_get_list_cell(reader.env, rest, &raw mut head, &raw mut rest);
            let value = match reader.next_value(&mut like, head, depth_left) {
                Ok(value) => value,
                Err(fail) => return Err(fail.in_element(|| format!("[{index}]"))),
            };
            ffi::PyList_SET_ITEM(object.as_ptr(), index, value.into_ptr());
        }
        Ok(object)
    }
}

/// Tuples that stand for another value: `{bytes, Binary}`, `{buffer, Binary}` and
/// `{ndarray, DType, Shape, Binary}`. Takes no level of nesting.
///
/// # Safety
/// The elements are terms of the reader's environment.
unsafe fn tagged_to_python(
    reader: Reader<'_>,
    elements: &[ErlNifTerm],
    depth_left: u32,
) -> Option<Result<Object, Fail>> {
    let known = &reader.types.known;
    // SAFETY: passed on to the caller.
    unsafe {
        match *elements {
            [tag, binary] if tag == known.bytes => term::inspect(reader.env, binary)
                .map(|bytes| text::bytes_to_python(reader.py, bytes)),
            [tag, binary] if tag == known.buffer => reader.buffer(binary),
            [tag, dtype, shape, data] if tag == known.ndarray => {
                reader.array([dtype, shape, data], depth_left)
            }
            _ => None,
        }
    }
}

/// A tuple, or a value that is [tagged](tagged_to_python).
///
/// # Safety
/// `tuple` is a tuple of the reader's environment.
unsafe fn tuple_to_python(
    reader: Reader<'_>,
    tuple: ErlNifTerm,
    depth_left: u32,
) -> Result<Object, Fail> {
    let mut arity = 0;
    let mut elements = std::ptr::null();
    // SAFETY: `tuple` belongs to `env` and is a tuple, so arity and elements are written and live
    // as long. The new Python tuple has as many places, and each is filled once.
    unsafe {
        enif_get_tuple(reader.env, tuple, &raw mut arity, &raw mut elements);
        let elements =
            if arity == 0 { &[] } else { std::slice::from_raw_parts(elements, arity as usize) };
        if let Some(special) = tagged_to_python(reader, elements, depth_left) {
            return special;
        }
        let depth_left = descend(depth_left)?;
        let object = owned_or_raised(reader.py, ffi::PyTuple_New(arity as ffi::Py_ssize_t))?;
        for (index, &element) in elements.iter().enumerate() {
            let value = match reader.value(element, depth_left) {
                Ok(value) => value,
                Err(fail) => return Err(fail.in_element(|| format!("[{index}]"))),
            };
            ffi::PyTuple_SET_ITEM(object.as_ptr(), index as ffi::Py_ssize_t, value.into_ptr());
        }
        Ok(object)
    }
}

/// # Safety
/// `map` is a map of the reader's environment.
unsafe fn map_to_python(
    reader: Reader<'_>,
    map: ErlNifTerm,
    depth_left: u32,
) -> Result<Object, Fail> {
    let Reader { py, env, .. } = reader;
    let mut name = ErlNifTerm::default();
    // SAFETY: `map` belongs to `env`, so its keys and values do; attached.
    unsafe {
        if enif_get_map_value(env, map, reader.types.known.r#struct, &raw mut name) != 0 {
            return struct_to_python(reader, map, name);
        }
        let dict = owned_or_raised(py, ffi::PyDict_New())?;
        for (count, (key, value)) in Pairs::new(env, map).into_iter().flatten().enumerate() {
            let place = || key_step(env, key);
            let name = match reader.key(key, depth_left) {
                Ok(name) => name,
                Err(fail) => return Err(fail.in_element(|| format!(".key({})", print(key)))),
            };
            let value = match reader.value(value, depth_left) {
                Ok(value) => value,
                Err(fail) => return Err(fail.in_element(place)),
            };
            if ffi::PyDict_SetItem(dict.as_ptr(), name.as_ptr(), value.as_ptr()) != 0 {
                return Err(refuse_key(py, &name).in_element(place));
            }
            // Equal in Python though not in Erlang: `a` and `<<"a">>`, 1 and 1.0, true and 1.
            if ffi::PyDict_Size(dict.as_ptr()) as usize != count + 1 {
                return Err(Fail::refuse("key that equals another one in Python").in_element(place));
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
            let name = term::atom_name(env, name).unwrap_or_default();
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
    if !ErrorClass::TypeError.is_raised(py) {
        return Fail::raised(py);
    }
    clear(py);
    let class = type_name(py, key);
    let within = if class == "tuple" { " with a list or dict in it" } else { "" };
    Fail::refuse(format!("{class}{within} as a key, which Python can't hash"))
}
