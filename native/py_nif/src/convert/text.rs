//! Binaries and atoms on one side; `str`, bytes and the constants on the other.
//!
//! Runs on a context thread, attached. Text is UTF-8 on the Erlang side, always: a `str` that has
//! no UTF-8 form (lone surrogates) is refused, not patched. Must never create an atom from Python
//! data: atoms live for ever, and a million of them end the VM.

use std::ffi::{CStr, c_uint};
use std::mem::MaybeUninit;

use py_runtime::exception::{ErrorClass, clear};
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};
use py_runtime::view::View;
use rustler::sys::{
    ErlNifCharEncoding, ErlNifEnv, ErlNifTerm, enif_get_atom, enif_make_binary, enif_release_binary,
};

use super::fail::{Fail, owned_or_raised};
use super::reader::Reader;
use super::writer::{SHARED_FROM, Writer};
use crate::erlang_types::atom;
use crate::term::{
    self, ATOM_UTF8, BIT_BINARY, Encoded, MAX_ATOM, SMALL_ATOM_UTF8, VERSION, existing_atom,
    new_binary, try_binary,
};

/// # Safety
/// `term` is a bitstring of the reader's environment.
pub(super) unsafe fn binary_to_python(
    reader: Reader<'_>,
    term: ErlNifTerm,
) -> Result<Object, Fail> {
    // SAFETY: `term` belongs to `env` and stays until the caller is done with it.
    let Some(bytes) = (unsafe { term::inspect(reader.env, term) }) else {
        // SAFETY: as above.
        return Err(unsafe { refuse_bits(reader.env, term) });
    };
    if bytes.is_ascii() {
        return ascii_to_python(reader.py, bytes);
    }
    if std::str::from_utf8(bytes).is_err() {
        return bytes_to_python(reader.py, bytes);
    }
    let Ok(length) = ffi::Py_ssize_t::try_from(bytes.len()) else {
        return Err(Fail::refuse("binary that is too large"));
    };
    // SAFETY: pointer and length are those of one slice of valid UTF-8, the same set of strings
    // for Rust as for Python.
    unsafe {
        owned_or_raised(reader.py, ffi::PyUnicode_FromStringAndSize(bytes.as_ptr().cast(), length))
    }
}

/// A `str` of bytes that are all ASCII, at which Python would look once more.
fn ascii_to_python(py: Attached<'_>, bytes: &[u8]) -> Result<Object, Fail> {
    let Ok(length) = ffi::Py_ssize_t::try_from(bytes.len()) else {
        return Err(Fail::refuse("binary that is too large"));
    };
    // SAFETY: attached; pointer and length are those of one slice. A new `str` for ASCII has a byte
    // for each character and is still nobody else's. The empty one and those of one character are
    // shared, so Python makes them.
    unsafe {
        if length < 2 {
            let text = ffi::PyUnicode_FromStringAndSize(bytes.as_ptr().cast(), length);
            return owned_or_raised(py, text);
        }
        let text = owned_or_raised(py, ffi::PyUnicode_New(length, 127))?;
        let data = ffi::PyUnicode_1BYTE_DATA(text.as_ptr());
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
        Ok(text)
    }
}

/// A `bytes` object, whatever is in it.
pub(super) fn bytes_to_python(py: Attached<'_>, bytes: &[u8]) -> Result<Object, Fail> {
    Object::bytes(py, bytes).ok_or_else(|| Fail::raised(py))
}

/// The error tells how many bits there are, which only the external format shows.
///
/// # Safety
/// `term` is a bitstring of `env`.
#[cold]
unsafe fn refuse_bits(env: *mut ErlNifEnv, term: ErlNifTerm) -> Fail {
    // SAFETY: `term` belongs to `env`.
    let encoded = unsafe { Encoded::new(env, term) };
    match encoded.bytes() {
        [VERSION, BIT_BINARY, _, _, _, _, in_last, data @ ..] if !data.is_empty() => {
            let bits = (data.len() - 1) * 8 + usize::from(*in_last);
            let plural = if bits == 1 { "" } else { "s" };
            Fail::refuse(format!("bitstring of {bits} bit{plural}"))
        }
        _ => Fail::refuse("bitstring"),
    }
}

/// # Safety
/// `term` is an atom of the reader's environment.
pub(super) unsafe fn atom_to_python(reader: Reader<'_>, term: ErlNifTerm) -> Result<Object, Fail> {
    let (py, known) = (reader.py, &reader.types.known);
    // SAFETY: the constants are live in every interpreter; attached; the term is passed on.
    unsafe {
        if term == known.r#true {
            return constant(py, ffi::Py_True());
        }
        if term == known.r#false {
            return constant(py, ffi::Py_False());
        }
        if term == known.none || term == known.nil || term == known.undefined {
            return Ok(Object::none(py));
        }
        match known.float(term) {
            Some(number) => Object::float(py, number).ok_or_else(|| Fail::raised(py)),
            None => atom_text_to_python(reader, term),
        }
    }
}

/// An atom as a key of a map: the atoms that stand for floats are names there, as those of options
/// and fields are.
///
/// # Safety
/// `term` is an atom of the reader's environment.
pub(super) unsafe fn atom_key_to_python(
    reader: Reader<'_>,
    term: ErlNifTerm,
) -> Result<Object, Fail> {
    // SAFETY: passed on to the caller.
    unsafe {
        match reader.types.known.float(term) {
            Some(_) => atom_text_to_python(reader, term),
            None => atom_to_python(reader, term),
        }
    }
}

/// The name of an atom as a `str`.
///
/// # Safety
/// `term` is an atom of the reader's environment.
unsafe fn atom_text_to_python(reader: Reader<'_>, term: ErlNifTerm) -> Result<Object, Fail> {
    let py = reader.py;
    // SAFETY: the buffer is large enough for the longest atom and its NUL, and the call says how
    // much of it is written.
    unsafe {
        let mut name = [MaybeUninit::<u8>::uninit(); MAX_ATOM + 1];
        let depth_left = name.len() as c_uint;
        let buffer = name.as_mut_ptr().cast();
        // Counts the final NUL; 0 says that a character is beyond Latin-1.
        match enif_get_atom(
            reader.env,
            term,
            buffer,
            depth_left,
            ErlNifCharEncoding::ERL_NIF_LATIN1,
        ) {
            0 => wide_atom_to_python(reader, term),
            written => {
                let length = written as ffi::Py_ssize_t - 1;
                owned_or_raised(py, ffi::PyUnicode_DecodeLatin1(buffer, length, std::ptr::null()))
            }
        }
    }
}

/// # Safety
/// `object` is live, and the thread attached.
unsafe fn constant(py: Attached<'_>, object: *mut ffi::PyObject) -> Result<Object, Fail> {
    // SAFETY: as the caller vouches.
    unsafe { Object::from_borrowed(py, object) }.ok_or_else(|| Fail::raised(py))
}

/// An atom with characters beyond Latin-1, which the NIF interface of OTP 25 can't read: only the
/// external term format can.
///
/// # Safety
/// `term` is an atom of the reader's environment.
#[cold]
#[inline(never)]
unsafe fn wide_atom_to_python(reader: Reader<'_>, term: ErlNifTerm) -> Result<Object, Fail> {
    // SAFETY: `term` belongs to `env`.
    let encoded = unsafe { Encoded::new(reader.env, term) };
    let name = match encoded.bytes() {
        [VERSION, SMALL_ATOM_UTF8, _, name @ ..] | [VERSION, ATOM_UTF8, _, _, name @ ..] => name,
        _ => return Err(Fail::refuse("atom in an unknown encoding")),
    };
    // SAFETY: pointer and length are those of one slice (of at most 1020 bytes).
    unsafe {
        let length = name.len() as ffi::Py_ssize_t;
        owned_or_raised(reader.py, ffi::PyUnicode_FromStringAndSize(name.as_ptr().cast(), length))
    }
}

/// # Safety
/// `value` is a live `str`, or an instance of a subclass; the writer's `env` may be written to.
pub(super) unsafe fn str_to_term(
    writer: &Writer<'_>,
    value: *mut ffi::PyObject,
) -> Result<ErlNifTerm, Fail> {
    // SAFETY: the text lives as long as `value`, which the caller keeps alive.
    unsafe {
        let utf8 = utf8(writer.py, value)?;
        try_binary(writer.env, utf8).ok_or_else(|| Fail::no_memory(writer.py))
    }
}

/// The UTF-8 form of a `str`.
///
/// # Safety
/// `value` is a live `str`, or an instance of a subclass, and outlives the slice.
pub(super) unsafe fn utf8<'v>(
    py: Attached<'_>,
    value: *mut ffi::PyObject,
) -> Result<&'v [u8], Fail> {
    let mut length = 0;
    // SAFETY: `value` is a `str`, so on success there are `length` bytes that live as long as it.
    unsafe {
        let text = ffi::PyUnicode_AsUTF8AndSize(value, &raw mut length);
        if text.is_null() {
            return Err(refuse_str(py));
        }
        Ok(std::slice::from_raw_parts(text.cast(), length as usize))
    }
}

#[cold]
fn refuse_str(py: Attached<'_>) -> Fail {
    if !ErrorClass::UnicodeEncodeError.is_raised(py) {
        return Fail::raised(py);
    }
    clear(py);
    Fail::refuse("str with a lone surrogate")
}

/// A `bytes`. A large one is shared, because it never changes; but no instance of a subclass, whose
/// `__buffer__` (PEP 688) may export other memory.
///
/// # Safety
/// `value` is a live `bytes`, or an instance of a subclass; the writer's `env` may be written to.
pub(super) unsafe fn bytes_to_term(
    writer: &Writer<'_>,
    value: *mut ffi::PyObject,
) -> Result<ErlNifTerm, Fail> {
    // SAFETY: a `bytes` has that many bytes there, never changes them, and the caller keeps it
    // alive.
    unsafe {
        let length = ffi::PyBytes_Size(value) as usize;
        if length >= SHARED_FROM
            && ffi::PyBytes_CheckExact(value) != 0
            && let Some(term) = writer.share(value)
        {
            return Ok(term);
        }
        let start = ffi::PyBytes_AsString(value).cast::<u8>();
        let bytes = std::slice::from_raw_parts(start, length);
        try_binary(writer.env, bytes).ok_or_else(|| Fail::no_memory(writer.py))
    }
}

/// A `bytearray`. Its owner may change it later, so a large one is shared only if it is the result
/// itself and there is no other reference to it.
///
/// # Safety
/// As for [`buffer_to_term`]; `value` is a bytearray, or an instance of a subclass.
pub(super) unsafe fn bytearray_to_term(
    writer: &Writer<'_>,
    value: *mut ffi::PyObject,
) -> Result<ErlNifTerm, Fail> {
    // SAFETY: as the caller vouches. With the GIL, a reference count of one is ours, and stays so.
    // That goes for the value that was given to us only: the one reference to a part of it is its
    // container's, which others may have.
    unsafe {
        let is_ours = cfg!(not(Py_GIL_DISABLED))
            && value == writer.consumed
            && ffi::PyByteArray_CheckExact(value) != 0
            && ffi::Py_REFCNT(value) == 1;
        if is_ours
            && ffi::PyByteArray_Size(value) as usize >= SHARED_FROM
            && let Some(term) = writer.share(value)
        {
            return Ok(term);
        }
        buffer_to_term(writer, value)
    }
}

/// A `memoryview`. A large one is shared if its memory never changes.
///
/// # Safety
/// As for [`buffer_to_term`]; `value` is a memoryview.
pub(super) unsafe fn memoryview_to_term(
    writer: &Writer<'_>,
    value: *mut ffi::PyObject,
) -> Result<ErlNifTerm, Fail> {
    // SAFETY: as the caller vouches.
    unsafe {
        if writer.never_changes(Object::lent(writer.py, &value))
            && let Some(term) = writer.share(value)
        {
            return Ok(term);
        }
        buffer_to_term(writer, value)
    }
}

/// The bytes behind a view, copied; also of one that is not contiguous.
///
/// # Safety
/// `value` is live and offers the buffer protocol; the writer's `env` may be written to.
pub(super) unsafe fn buffer_to_term(
    writer: &Writer<'_>,
    value: *mut ffi::PyObject,
) -> Result<ErlNifTerm, Fail> {
    let py = writer.py;
    // SAFETY: the caller keeps the object alive.
    let object = unsafe { Object::lent(py, &value) };
    let copied = View::with(py, object, |view| {
        if holds_objects(view) {
            return Err(refuse_objects());
        }
        let mut new = new_binary(view.size()).ok_or_else(|| Fail::no_memory(py))?;
        // SAFETY: the new binary is as long as the view, and ours.
        unsafe {
            if view.copy_to(new.data.cast()).is_none() {
                enif_release_binary(&raw mut new);
                return Err(Fail::raised(py));
            }
        }
        Ok(new)
    });
    let mut new = copied.ok_or_else(|| Fail::raised(py))??;
    // SAFETY: the writer's `env` may be written to; the binary is ours.
    Ok(unsafe { enif_make_binary(writer.env, &raw mut new) })
}

/// Whether the bytes behind a view are pointers to Python objects, also among other fields. Such
/// bytes mean nothing outside, and are dangerous when they come back.
pub(super) fn holds_objects(view: &View<'_>) -> bool {
    // The names of fields stand between colons.
    let format = view.format().map_or(&b""[..], CStr::to_bytes);
    format.split(|byte| *byte == b':').step_by(2).any(|kinds| kinds.contains(&b'O'))
}

#[cold]
pub(super) fn refuse_objects() -> Fail {
    Fail::refuse("memory that holds Python objects")
}

/// # Safety
/// `value` is a live instance of this interpreter's `erlang.Atom`; the writer's `env` may be
/// written to.
pub(super) unsafe fn atom_to_term(
    writer: &Writer<'_>,
    value: *mut ffi::PyObject,
) -> Result<ErlNifTerm, Fail> {
    // SAFETY: the atom keeps its name alive, and the caller the atom.
    let name = unsafe { utf8(writer.py, atom::name(value)) }?;
    // A `str`'s UTF-8 form is valid.
    let name = std::str::from_utf8(name).unwrap_or_default();
    existing_atom(writer.env, name)
        .ok_or_else(|| Fail::refuse(format!("erlang.Atom({name:?}): no such atom exists")))
}
