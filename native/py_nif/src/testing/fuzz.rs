//! Coverage-guided fuzzing of the conversion, in a real VM: `native/fuzz/run`.
//!
//! Not in the library as it is shipped: only with the feature `fuzz`. A call of the function `run`
//! in the module `_fuzz` doesn't look for such a module but has libFuzzer run here, on the context
//! thread. Each input is read as a term in (nearly) the external term format, which goes to Python,
//! back, to Python and back once more. What may fail is refused on the way; what has come back once
//! must come back the same for ever.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

// For its library; of the crate itself nothing is used.
use libfuzzer_sys as _;
use py_runtime::ffi;
use py_runtime::object::Object;
use rustler::sys::{
    ErlNifCharEncoding, ErlNifEnv, ErlNifTerm, enif_is_identical, enif_is_ref, enif_make_double,
    enif_make_existing_atom_len, enif_make_int64, enif_make_list_cell, enif_make_list_from_array,
    enif_make_map_put, enif_make_new_map, enif_make_sub_binary,
};

use crate::convert::Converter;
use crate::request::error::ConvertError;
use crate::term::{TermEnv, binary, tuple};

unsafe extern "C" {
    /// libFuzzer's entry for programs with a `main` of their own. Ends the process when it is done.
    fn LLVMFuzzerRunDriver(
        argc: *mut c_int,
        argv: *mut *mut *mut c_char,
        one_input: extern "C" fn(*const u8, usize) -> c_int,
    ) -> c_int;
}

thread_local! {
    static CONVERTER: Cell<*const Converter<'static>> = const { Cell::new(std::ptr::null()) };
}

/// Runs libFuzzer with its command line arguments.
pub(crate) fn run(converter: &Converter<'_>, arguments: &[String]) -> i32 {
    CONVERTER.set(std::ptr::from_ref(converter).cast());
    let mut arguments: Vec<_> = std::iter::once("fuzz")
        .chain(arguments.iter().map(String::as_str))
        .map(|argument| CString::new(argument).unwrap_or_default().into_raw())
        .collect();
    let mut count = arguments.len() as c_int;
    arguments.push(std::ptr::null_mut());
    let mut start = arguments.as_mut_ptr();
    // SAFETY: the arguments stay for the life of the process, as `main`'s do. Leaving the VM in the
    // middle of its work must run none of its clean-up: the handler that is registered last comes
    // first.
    unsafe {
        libc::atexit(leave);
        LLVMFuzzerRunDriver(&raw mut count, &raw mut start, one_input)
    }
}

extern "C" fn leave() {
    // SAFETY: no preconditions.
    unsafe { libc::_exit(0) };
}

/// libFuzzer's crate wants one of this name for a `main` that isn't here.
#[unsafe(no_mangle)]
extern "C" fn rust_fuzzer_test_input(start: *const u8, length: usize) -> c_int {
    one_input(start, length)
}

extern "C" fn one_input(start: *const u8, length: usize) -> c_int {
    // SAFETY: libFuzzer gives that many bytes; it runs on the thread that called `run`, which still
    // has the converter.
    unsafe {
        let input = if length == 0 { &[] } else { std::slice::from_raw_parts(start, length) };
        let converter = &*CONVERTER.get();
        if catch_unwind(AssertUnwindSafe(|| try_input(converter, input))).is_err() {
            libc::abort();
        }
    }
    0
}

fn try_input(converter: &Converter<'_>, input: &[u8]) {
    let Some((&how, rest)) = input.split_first() else { return };
    let env = TermEnv::new();
    let mut front = Front { env: env.as_ptr(), rest, large_left: 2 };
    let Some(term) = front.term(0) else { return };
    // SAFETY: the environments are this thread's alone.
    unsafe {
        let Ok(object) = converter.to_python(env.as_ptr(), term, "input") else { return };
        let object = disguised(converter, object, how);
        if how & 0x80 != 0 {
            let scratch = TermEnv::new();
            let _ = converter.to_buffer(scratch.as_ptr(), &object, false);
        }
        let by_value = how & 0x40 != 0;
        let Some(first) = there(converter, env.as_ptr(), &object, by_value) else { return };
        if enif_is_ref(env.as_ptr(), first) != 0 {
            // Each handle is its own.
            return;
        }
        let again = match converter.to_python(env.as_ptr(), first, "again") {
            Ok(again) => again,
            Err(ConvertError::Unconvertible { .. }) if by_value => return,
            Err(error) => panic!("what came from Python was refused: {error:?}"),
        };
        let second =
            there(converter, env.as_ptr(), &again, by_value).expect("it has crossed before");
        assert!(enif_is_identical(first, second) != 0, "it changed on the second way");
    }
}

/// # Safety
/// `env` is this thread's alone.
unsafe fn there(
    converter: &Converter<'_>,
    env: *mut ErlNifEnv,
    object: &Object,
    by_value: bool,
) -> Option<ErlNifTerm> {
    // SAFETY: passed on to the caller.
    match unsafe { converter.to_term(env, object, by_value) } {
        Ok(term) => Some(term),
        Err(ConvertError::Python(exception)) => panic!("raised {exception:?}"),
        Err(_) => None,
    }
}

/// The object, or something else that is made of it.
fn disguised(converter: &Converter<'_>, object: Object, how: u8) -> Object {
    let py = converter.py;
    // SAFETY: attached; what can't be made raises, and the object stays as it is.
    let other = unsafe {
        let ptr = object.as_ptr();
        let made = match how & 0x0f {
            1 => ffi::PySet_New(ptr),
            2 => ffi::PyFrozenSet_New(ptr),
            // Of a number it would be one of that length.
            3 if ffi::PyObject_CheckBuffer(ptr) != 0 => ffi::PyByteArray_FromObject(ptr),
            4 => ffi::PyMemoryView_FromObject(ptr),
            5 => ffi::PySequence_Tuple(ptr),
            6 => ffi::PySequence_List(ptr),
            7 => ffi::PyObject_GetIter(ptr),
            8 => ffi::PyObject_Repr(ptr),
            9 => ffi::PyDict_Keys(ptr),
            _ => std::ptr::null_mut(),
        };
        Object::from_owned(py, made)
    };
    py_runtime::exception::clear(py);
    other.unwrap_or(object)
}

/// Reads a term. The tags are those of the external term format.
struct Front<'i> {
    env: *mut ErlNifEnv,
    rest: &'i [u8],
    /// How many more large binaries it may make: they take their time.
    large_left: u8,
}

impl<'i> Front<'i> {
    /// Deeper than the conversion allows, and no deeper than this thread's stack.
    const DEEPEST: u32 = 1200;

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn bytes(&mut self, count: usize) -> Option<&'i [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(bytes)
    }

    fn long(&mut self) -> Option<usize> {
        Some(u32::from_be_bytes(self.bytes(4)?.try_into().ok()?) as usize)
    }

    /// So many terms. Each takes a byte at least, so that their number is bounded.
    fn terms(&mut self, count: usize, depth: u32) -> Option<Vec<ErlNifTerm>> {
        if count > self.rest.len() {
            return None;
        }
        (0..count).map(|_| self.term(depth)).collect()
    }

    fn term(&mut self, depth: u32) -> Option<ErlNifTerm> {
        if depth > Self::DEEPEST {
            return None;
        }
        let env = self.env;
        // SAFETY: the environment is this thread's alone, and all terms are of it.
        unsafe {
            Some(match self.byte()? {
                97 => enif_make_int64(env, self.byte()?.into()),
                98 => {
                    enif_make_int64(env, i32::from_be_bytes(self.bytes(4)?.try_into().ok()?).into())
                }
                70 => {
                    let number = f64::from_be_bytes(self.bytes(8)?.try_into().ok()?);
                    if !number.is_finite() {
                        return None;
                    }
                    enif_make_double(env, number)
                }
                110 => {
                    let length = usize::from(self.byte()?);
                    let sign = self.byte()?;
                    self.big(sign, length)?
                }
                119 => {
                    let length = usize::from(self.byte()?);
                    let name = self.bytes(length)?;
                    let mut term = ErlNifTerm::default();
                    let latin1 = ErlNifCharEncoding::ERL_NIF_LATIN1;
                    let found = enif_make_existing_atom_len(
                        env,
                        name.as_ptr().cast(),
                        name.len(),
                        &raw mut term,
                        latin1,
                    );
                    (found != 0).then_some(term)?
                }
                109 => {
                    let length = self.long()?;
                    binary(env, self.bytes(length)?)
                }
                // Not in the format: a part of a binary, and one that is large enough to be shared.
                1 => {
                    let (from, length) = (usize::from(self.byte()?), usize::from(self.byte()?));
                    let whole = binary(env, self.rest);
                    if from + length > self.rest.len() {
                        return None;
                    }
                    enif_make_sub_binary(env, whole, from, length)
                }
                2 => {
                    self.large_left = self.large_left.checked_sub(1)?;
                    let length = 0xff80 + usize::from(self.byte()?);
                    binary(env, &vec![self.byte()?; length])
                }
                104 => {
                    let arity = usize::from(self.byte()?);
                    let elements = self.terms(arity, depth + 1)?;
                    tuple(env, &elements)
                }
                108 => {
                    let length = self.long()?;
                    let elements = self.terms(length, depth + 1)?;
                    let mut list = self.term(depth + 1)?;
                    for element in elements.into_iter().rev() {
                        list = enif_make_list_cell(env, element, list);
                    }
                    list
                }
                107 => {
                    let length = usize::from(u16::from_be_bytes(self.bytes(2)?.try_into().ok()?));
                    let elements: Vec<_> = self
                        .bytes(length)?
                        .iter()
                        .map(|b| enif_make_int64(env, (*b).into()))
                        .collect();
                    enif_make_list_from_array(env, elements.as_ptr(), elements.len() as u32)
                }
                106 => enif_make_list_from_array(env, std::ptr::null(), 0),
                116 => {
                    let size = self.long()?;
                    let mut map = enif_make_new_map(env);
                    for pair in self.terms(size.checked_mul(2)?, depth + 1)?.chunks_exact(2) {
                        enif_make_map_put(env, map, pair[0], pair[1], &raw mut map);
                    }
                    map
                }
                _ => return None,
            })
        }
    }

    /// An integer of so many bytes, least significant first.
    fn big(&mut self, sign: u8, length: usize) -> Option<ErlNifTerm> {
        let mut encoded = vec![131, 110, length as u8, sign & 1];
        encoded.extend(self.bytes(length)?);
        let mut term = ErlNifTerm::default();
        // SAFETY: pointer and length are those of one buffer; the environment is ours.
        let read = unsafe {
            rustler::sys::enif_binary_to_term(
                self.env,
                encoded.as_ptr(),
                encoded.len(),
                &raw mut term,
                0,
            )
        };
        (read != 0).then_some(term)
    }
}
