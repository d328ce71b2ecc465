//! Integers of any size and floats, both ways.
//!
//! Runs on a context thread, attached. An integer that doesn't fit a machine word travels as bytes
//! in the external term format, never as decimal text, which is quadratic and which Python refuses
//! beyond 4300 digits. A number that no float can represent never becomes a float.

use py_runtime::ffi;
use py_runtime::object::{Attached, Object};
use rustler::sys::{
    ErlNifEnv, ErlNifTerm, enif_binary_to_term, enif_get_double, enif_get_int64, enif_make_double,
    enif_make_int64,
};

use super::fail::{Fail, owned_or_raised};
use super::place::type_name;
use super::writer::Writer;
use crate::term::Encoded;

/// Tags of the external term format.
const VERSION: u8 = 131;
const SMALL_BIG: u8 = 110;
const LARGE_BIG: u8 = 111;
/// The longest header: version, tag, four bytes of length, sign.
const HEADER: usize = 7;

/// # Safety
/// `term` is an integer of `env`.
pub(super) unsafe fn int_to_python(
    py: Attached<'_>,
    env: *mut ErlNifEnv,
    term: ErlNifTerm,
) -> Result<Object, Fail> {
    let mut small = 0;
    // SAFETY: `term` belongs to `env`; the thread is attached.
    unsafe {
        if enif_get_int64(env, term, &raw mut small) != 0 {
            return owned_or_raised(py, ffi::PyLong_FromLongLong(small));
        }
        big_to_python(py, env, term)
    }
}

/// # Safety
/// `term` is an integer of `env`.
#[cold]
#[inline(never)]
unsafe fn big_to_python(
    py: Attached<'_>,
    env: *mut ErlNifEnv,
    term: ErlNifTerm,
) -> Result<Object, Fail> {
    // SAFETY: `term` belongs to `env`.
    let encoded = unsafe { Encoded::new(env, term) };
    let (sign, magnitude) = match encoded.bytes() {
        [VERSION, SMALL_BIG, _, sign, magnitude @ ..]
        | [VERSION, LARGE_BIG, _, _, _, _, sign, magnitude @ ..] => (*sign, magnitude),
        _ => return Err(Fail::refuse("integer in an unknown encoding")),
    };
    // SAFETY: attached; the bytes are those of one slice.
    let positive = unsafe { owned_or_raised(py, unsigned(magnitude)) }?;
    if sign == 0 {
        return Ok(positive);
    }
    // SAFETY: an exact int, so no user code is run.
    unsafe { owned_or_raised(py, ffi::PyNumber_Negative(positive.as_ptr())) }
}

/// A new int from its magnitude in bytes, least significant first.
///
/// # Safety
/// The thread is attached.
unsafe fn unsigned(magnitude: &[u8]) -> *mut ffi::PyObject {
    #[cfg(Py_3_13)]
    // SAFETY: pointer and length are those of one slice.
    unsafe {
        ffi::PyLong_FromUnsignedNativeBytes(
            magnitude.as_ptr().cast(),
            magnitude.len(),
            ffi::Py_ASNATIVEBYTES_LITTLE_ENDIAN,
        )
    }
    #[cfg(not(Py_3_13))]
    // SAFETY: pointer and length are those of one slice.
    unsafe {
        ffi::_PyLong_FromByteArray(magnitude.as_ptr(), magnitude.len(), 1, 0)
    }
}

/// # Safety
/// `term` is a float of `env`.
pub(super) unsafe fn float_to_python(
    py: Attached<'_>,
    env: *mut ErlNifEnv,
    term: ErlNifTerm,
) -> Result<Object, Fail> {
    let mut number = 0.0;
    // SAFETY: `term` belongs to `env` and is a float, so the output is written.
    unsafe { enif_get_double(env, term, &raw mut number) };
    Object::float(py, number).ok_or_else(|| Fail::raised(py))
}

/// # Safety
/// `value` is a live int, or an instance of a subclass of int, and `env` may be written to.
pub(super) unsafe fn int_to_term(
    py: Attached<'_>,
    env: *mut ErlNifEnv,
    value: *mut ffi::PyObject,
) -> Result<ErlNifTerm, Fail> {
    let mut overflow = 0;
    // SAFETY: the caller vouches for both. An int (subclass or not) is read without calling its
    // methods, so this can't fail other than by overflow.
    unsafe {
        let small = ffi::PyLong_AsLongLongAndOverflow(value, &raw mut overflow);
        if overflow == 0 {
            return Ok(enif_make_int64(env, small));
        }
        big_to_term(py, env, value)
    }
}

/// The numbers that long lists are made of: those that fit a machine word. `None`: anything else.
///
/// # Safety
/// `value` is a live object and `env` may be written to.
#[inline(always)]
pub(super) unsafe fn plain_to_term(
    env: *mut ErlNifEnv,
    value: *mut ffi::PyObject,
) -> Option<ErlNifTerm> {
    // SAFETY: the caller vouches for both, and each call is given an object of its type; what is no
    // finite number must not be given to `enif_make_double`.
    unsafe {
        if ffi::PyLong_CheckExact(value) != 0 {
            let mut overflow = 0;
            let number = ffi::PyLong_AsLongLongAndOverflow(value, &raw mut overflow);
            return (overflow == 0).then(|| enif_make_int64(env, number));
        }
        if ffi::PyFloat_CheckExact(value) != 0 {
            let number = ffi::PyFloat_AS_DOUBLE(value);
            return number.is_finite().then(|| enif_make_double(env, number));
        }
        None
    }
}

/// # Safety
/// As for [`int_to_term`].
#[cold]
#[inline(never)]
unsafe fn big_to_term(
    py: Attached<'_>,
    env: *mut ErlNifEnv,
    value: *mut ffi::PyObject,
) -> Result<ErlNifTerm, Fail> {
    // SAFETY: `value` is a live int.
    let mut encoded = unsafe { signed(py, value) }?;
    let negative = encoded.last().is_some_and(|byte| byte & 0x80 != 0);
    if negative {
        negate(&mut encoded[HEADER..]);
    }
    while encoded.last() == Some(&0) {
        encoded.pop();
    }
    let length = encoded.len() - HEADER;
    let refuse = || Fail::refuse(format!("int of {length} bytes: more than Erlang can hold"));
    let sign = u8::from(negative);
    let start = if let Ok(length) = u8::try_from(length) {
        encoded[3..HEADER].copy_from_slice(&[VERSION, SMALL_BIG, length, sign]);
        3
    } else {
        let length = u32::try_from(length).map_err(|_| refuse())?;
        encoded[..2].copy_from_slice(&[VERSION, LARGE_BIG]);
        encoded[2..6].copy_from_slice(&length.to_be_bytes());
        encoded[6] = sign;
        0
    };
    let encoded = &encoded[start..];
    let mut term = ErlNifTerm::default();
    // SAFETY: pointer and length are those of one slice; a bignum needs nothing of a scheduler to
    // be decoded (a large map would, which is why nothing else is decoded here).
    let read =
        unsafe { enif_binary_to_term(env, encoded.as_ptr(), encoded.len(), &raw mut term, 0) };
    if read == 0 { Err(refuse()) } else { Ok(term) }
}

/// Two's complement negation, least significant byte first. The most negative number becomes its
/// own magnitude, read as unsigned.
fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes {
        (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
    }
}

/// [`HEADER`] free bytes, then the int in two's complement, least significant byte first.
///
/// # Safety
/// `value` is a live int, or an instance of a subclass, and the thread is attached.
#[cfg(Py_3_13)]
unsafe fn signed(py: Attached<'_>, value: *mut ffi::PyObject) -> Result<Vec<u8>, Fail> {
    const FLAGS: std::ffi::c_int = ffi::Py_ASNATIVEBYTES_LITTLE_ENDIAN;
    // SAFETY: without a buffer, the call only returns how many bytes it wants.
    let size = unsafe { ffi::PyLong_AsNativeBytes(value, std::ptr::null_mut(), 0, FLAGS) };
    let length = usize::try_from(size).map_err(|_| Fail::raised(py))?;
    let mut buffer = vec![0; HEADER + length];
    // SAFETY: `size` bytes follow the header.
    let done = unsafe {
        ffi::PyLong_AsNativeBytes(value, buffer[HEADER..].as_mut_ptr().cast(), size, FLAGS)
    };
    if done < 0 { Err(Fail::raised(py)) } else { Ok(buffer) }
}

/// [`HEADER`] free bytes, then the int in two's complement, least significant byte first.
///
/// # Safety
/// `value` is a live int, or an instance of a subclass, and the thread is attached.
#[cfg(not(Py_3_13))]
unsafe fn signed(py: Attached<'_>, value: *mut ffi::PyObject) -> Result<Vec<u8>, Fail> {
    unsafe extern "C" {
        /// Private in CPython, but exported and unchanged up to 3.12; from 3.13 there is better.
        fn _PyLong_NumBits(value: *mut ffi::PyObject) -> usize;
    }
    // SAFETY: `value` is an int.
    let bits = unsafe { _PyLong_NumBits(value) };
    if bits == usize::MAX {
        return Err(Fail::raised(py));
    }
    // One bit more than the magnitude, for the sign.
    let length = bits / 8 + 1;
    let mut buffer = vec![0; HEADER + length];
    // SAFETY: `length` bytes follow the header.
    let done = unsafe {
        ffi::_PyLong_AsByteArray(value.cast(), buffer[HEADER..].as_mut_ptr(), length, 1, 1)
    };
    if done < 0 { Err(Fail::raised(py)) } else { Ok(buffer) }
}

/// A float; an atom for an infinity or a NaN, which Erlang's floats can't be.
pub(super) fn float_to_term(writer: &Writer<'_>, number: f64) -> ErlNifTerm {
    let known = &writer.types.known;
    if number.is_finite() {
        // SAFETY: `env` is the writer's to write to, and the number is finite: for others this
        // call would leave a pending exception instead of a term.
        unsafe { enif_make_double(writer.env, number) }
    } else if number.is_nan() {
        known.nan
    } else if number > 0.0 {
        known.infinity
    } else {
        known.neg_infinity
    }
}

/// What kind of number a numpy scalar is.
#[derive(Clone, Copy)]
pub(super) enum Numpy {
    Bool,
    Integer,
    Floating,
}

/// Recognises numpy's real scalars by their base classes.
///
/// Only those: an array of one element, a `timedelta64` and a `complex64` answer `__float__` too,
/// but are not numbers that a float could stand for.
///
/// # Safety
/// `value` is a live object and the thread is attached.
pub(super) unsafe fn numpy_scalar(value: *mut ffi::PyObject) -> Option<Numpy> {
    // SAFETY: a live object's type is live and keeps its bases alive; their names end in NUL.
    unsafe {
        let mut class = ffi::Py_TYPE(value);
        while !class.is_null() {
            match std::ffi::CStr::from_ptr((*class).tp_name).to_bytes() {
                b"numpy.timedelta64" => return None,
                b"numpy.integer" => return Some(Numpy::Integer),
                b"numpy.floating" => return Some(Numpy::Floating),
                b"numpy.bool" | b"numpy.bool_" => return Some(Numpy::Bool),
                _ => class = (*class).tp_base,
            }
        }
        None
    }
}

/// # Safety
/// `value` is a live object that [`numpy_scalar`] recognised; the writer's `env` may be written to.
pub(super) unsafe fn numpy_to_term(
    writer: &Writer<'_>,
    value: *mut ffi::PyObject,
    kind: Numpy,
) -> Result<ErlNifTerm, Fail> {
    let py = writer.py;
    // SAFETY: `value` is live and the thread attached; new references are owned by `Object`s.
    unsafe {
        match kind {
            Numpy::Bool => match ffi::PyObject_IsTrue(value) {
                0 => Ok(writer.types.known.r#false),
                1 => Ok(writer.types.known.r#true),
                _ => Err(Fail::raised(py)),
            },
            Numpy::Integer => {
                let int = owned_or_raised(py, ffi::PyNumber_Index(value))?;
                int_to_term(py, writer.env, int.as_ptr())
            }
            Numpy::Floating => {
                let float = owned_or_raised(py, ffi::PyNumber_Float(value))?;
                let number = ffi::PyFloat_AS_DOUBLE(float.as_ptr());
                // A longdouble may be more than a float can hold.
                match ffi::PyObject_RichCompareBool(value, float.as_ptr(), ffi::Py_EQ) {
                    -1 => Err(Fail::raised(py)),
                    0 if !number.is_nan() => {
                        let class = type_name(py, Object::lent(py, &value));
                        Err(Fail::refuse(format!("{class} that no float can hold")))
                    }
                    _ => Ok(float_to_term(writer, number)),
                }
            }
        }
    }
}
