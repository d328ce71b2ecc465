//! Takes terms apart.

use std::ffi::CStr;
use std::mem::MaybeUninit;

use rustler::sys::{
    ERL_NIF_BIN2TERM_SAFE, ErlNifBinary, ErlNifCharEncoding, ErlNifEnv, ErlNifMapIterator,
    ErlNifMapIteratorEntry, ErlNifTerm, enif_binary_to_term, enif_get_int64, enif_get_tuple,
    enif_inspect_binary, enif_is_atom, enif_make_existing_atom_len, enif_map_iterator_create,
    enif_map_iterator_destroy, enif_map_iterator_get_pair, enif_map_iterator_next,
    enif_release_binary, enif_snprintf, enif_term_to_binary,
};

use super::build::atom;
use super::to_bits;

/// Tags of the external term format.
pub(crate) const VERSION: u8 = 131;
pub(crate) const ATOM_LATIN1: u8 = 100;
pub(crate) const ATOM_UTF8: u8 = 118;
pub(crate) const SMALL_ATOM_UTF8: u8 = 119;
pub(crate) const BIT_BINARY: u8 = 77;

/// No atom is longer, in characters.
pub(crate) const MAX_ATOM: usize = 255;

/// Whether a term is an atom or a small integer, and so an immediate term. `false` for some others.
///
/// # Safety
/// `term` belongs to `env`, which belongs to the current thread.
pub(crate) unsafe fn is_immediate(env: *mut ErlNifEnv, term: ErlNifTerm) -> bool {
    /// Integers from here to there are immediate terms: 60 bits, as the efficiency guide says, on
    /// the 64-bit systems that there are.
    const SMALL: std::ops::Range<i64> = -(1 << 59)..1 << 59;
    let mut number = 0;
    // SAFETY: passed on to the caller.
    unsafe {
        enif_is_atom(env, term) != 0
            || (enif_get_int64(env, term, &raw mut number) != 0 && SMALL.contains(&number))
    }
}

/// The elements of a tuple; none, if it is no tuple.
///
/// # Safety
/// `term` belongs to `env`, which nobody changes while the elements are in use.
pub(crate) unsafe fn elements<'a>(env: *mut ErlNifEnv, term: ErlNifTerm) -> &'a [ErlNifTerm] {
    let (mut arity, mut elements) = (0, std::ptr::null());
    // SAFETY: as the caller vouches; a tuple's elements lie in its environment.
    unsafe {
        if enif_get_tuple(env, term, &raw mut arity, &raw mut elements) == 0 || arity == 0 {
            return &[];
        }
        std::slice::from_raw_parts(elements, usize::try_from(arity).unwrap_or(0))
    }
}

/// Whether a term is a tuple that begins with an atom.
///
/// # Safety
/// `term` belongs to `env`, which belongs to the current thread.
pub(crate) unsafe fn is_tagged(env: *mut ErlNifEnv, term: ErlNifTerm, name: &str) -> bool {
    // SAFETY: passed on to the caller; a tuple's elements are read while it lives.
    unsafe {
        let first = elements(env, term).first();
        first.is_some_and(|first| to_bits(*first) == to_bits(atom(env, name)))
    }
}

/// A term in the external term format.
pub(crate) struct Encoded(ErlNifBinary);

impl Encoded {
    /// # Safety
    /// `term` belongs to `env`.
    pub(crate) unsafe fn new(env: *mut ErlNifEnv, term: ErlNifTerm) -> Self {
        let mut binary = MaybeUninit::<ErlNifBinary>::zeroed();
        // SAFETY: `term` belongs to `env`. The call fills the binary in (it fails for no term; a
        // zeroed one is an empty one in any case).
        unsafe {
            enif_term_to_binary(env, term, binary.as_mut_ptr());
            Encoded(binary.assume_init())
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        slice(&self.0)
    }
}

impl Drop for Encoded {
    fn drop(&mut self) {
        if !self.0.data.is_null() {
            // SAFETY: filled in by `enif_term_to_binary`, which made us its owner.
            unsafe { enif_release_binary(&raw mut self.0) };
        }
    }
}

fn slice(binary: &ErlNifBinary) -> &[u8] {
    if binary.data.is_null() {
        return &[];
    }
    // SAFETY: the VM filled in both, and the binary outlives the borrow.
    unsafe { std::slice::from_raw_parts(binary.data, binary.size) }
}

/// The bytes of a binary. `None` for a bitstring that isn't one, and for any other term.
///
/// # Safety
/// `term` belongs to `env`, and stays as long as the slice is used.
pub(crate) unsafe fn inspect<'e>(env: *mut ErlNifEnv, term: ErlNifTerm) -> Option<&'e [u8]> {
    let mut binary = MaybeUninit::<ErlNifBinary>::zeroed();
    // SAFETY: `term` belongs to `env`; on success the VM has filled in pointer and length of bytes
    // that live as long as the environment.
    unsafe {
        if enif_inspect_binary(env, term, binary.as_mut_ptr()) == 0 {
            return None;
        }
        let binary = binary.assume_init();
        if binary.size == 0 {
            return Some(&[]);
        }
        Some(std::slice::from_raw_parts(binary.data, binary.size))
    }
}

/// The name of an atom for a message or a path; `None` for any other term.
///
/// # Safety
/// `term` belongs to `env`.
pub(crate) unsafe fn atom_name(env: *mut ErlNifEnv, term: ErlNifTerm) -> Option<String> {
    // SAFETY: `term` belongs to `env`.
    let encoded = unsafe { Encoded::new(env, term) };
    match encoded.bytes() {
        [VERSION, SMALL_ATOM_UTF8, _, name @ ..] | [VERSION, ATOM_UTF8, _, _, name @ ..] => {
            Some(String::from_utf8_lossy(name).into_owned())
        }
        [VERSION, ATOM_LATIN1, _, _, name @ ..] => {
            Some(name.iter().copied().map(char::from).collect())
        }
        _ => None,
    }
}

/// The atom of that name, if there is one already.
pub(crate) fn existing_atom(env: *mut ErlNifEnv, name: &str) -> Option<ErlNifTerm> {
    let mut term = ErlNifTerm::default();
    // Latin-1 has at most one byte for each of UTF-8's, so what doesn't fit is too long anyway.
    let mut latin1 = [0; MAX_ATOM];
    let mut length = 0;
    for character in name.chars() {
        let Ok(byte) = u8::try_from(character) else { return existing_wide_atom(env, name) };
        *latin1.get_mut(length)? = byte;
        length += 1;
    }
    // SAFETY: the buffer has `length` bytes; `env` is the caller's to write to.
    let found = unsafe {
        enif_make_existing_atom_len(
            env,
            latin1.as_ptr().cast(),
            length,
            &raw mut term,
            ErlNifCharEncoding::ERL_NIF_LATIN1,
        )
    };
    (found != 0).then_some(term)
}

/// For names beyond Latin-1, which the NIF interface of OTP 25 can't look up: decoding in safe mode
/// refuses to create atoms.
fn existing_wide_atom(env: *mut ErlNifEnv, name: &str) -> Option<ErlNifTerm> {
    let length = u16::try_from(name.len()).ok()?;
    let mut encoded = vec![VERSION, ATOM_UTF8];
    encoded.extend(length.to_be_bytes());
    encoded.extend(name.as_bytes());
    let mut term = ErlNifTerm::default();
    // SAFETY: pointer and length are those of one buffer; `env` is the caller's to write to.
    let read = unsafe {
        enif_binary_to_term(
            env,
            encoded.as_ptr(),
            encoded.len(),
            &raw mut term,
            ERL_NIF_BIN2TERM_SAFE,
        )
    };
    (read != 0).then_some(term)
}

/// Walks a map. The VM may have allocated memory for the walk, which is freed at the end.
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

/// Prints a term the way the shell does, up to the first 199 bytes.
///
/// # Safety
/// `term` is live.
pub(crate) unsafe fn print(term: ErlNifTerm) -> String {
    let mut buffer = [0_u8; 200];
    // SAFETY: the buffer is as long as the call says; `%T` takes a term.
    let wanted =
        unsafe { enif_snprintf!(buffer.as_mut_ptr().cast(), buffer.len(), c"%T".as_ptr(), term) };
    let text = CStr::from_bytes_until_nul(&buffer).unwrap_or_default().to_string_lossy();
    if usize::try_from(wanted).is_ok_and(|wanted| wanted < buffer.len()) {
        text.into_owned()
    } else {
        format!("{text}…")
    }
}
