//! Makes terms.

use std::sync::LazyLock;

use rustler::sys::{
    ErlNifBinary, ErlNifEnv, ErlNifTerm, enif_alloc_binary, enif_alloc_env, enif_free_env,
    enif_make_atom_len, enif_make_binary, enif_make_map_put, enif_make_new_binary,
    enif_make_new_map, enif_make_tuple_from_array,
};

use super::{from_bits, to_bits};

/// An atom known to this library at compile time.
///
/// # Safety
/// `env` belongs to the current thread.
pub(crate) unsafe fn atom(env: *mut ErlNifEnv, name: &str) -> ErlNifTerm {
    // SAFETY: the name is at most a few ASCII characters.
    unsafe { enif_make_atom_len(env, name.as_ptr().cast(), name.len()) }
}

/// `ok`, without the look-up in the VM's table of atoms that [`atom`] does.
pub(crate) fn ok() -> ErlNifTerm {
    static OK: LazyLock<usize> = LazyLock::new(|| {
        // SAFETY: the environment is made for this and freed after; an atom doesn't live in it.
        unsafe {
            let env = enif_alloc_env();
            let ok = to_bits(atom(env, "ok"));
            enif_free_env(env);
            ok
        }
    });
    // SAFETY: an atom is immediate.
    unsafe { from_bits(*OK) }
}

/// A tuple.
///
/// # Safety
/// `env` belongs to the current thread and the elements are its terms.
pub(crate) unsafe fn tuple(env: *mut ErlNifEnv, elements: &[ErlNifTerm]) -> ErlNifTerm {
    let arity = u32::try_from(elements.len()).expect("our tuples are small");
    // SAFETY: pointer and length come from one slice.
    unsafe { enif_make_tuple_from_array(env, elements.as_ptr(), arity) }
}

/// A binary with a copy of `bytes`.
///
/// # Safety
/// `env` belongs to the current thread.
pub(crate) unsafe fn binary(env: *mut ErlNifEnv, bytes: &[u8]) -> ErlNifTerm {
    let mut term = ErlNifTerm::default();
    // SAFETY: the VM gives `len` writable bytes, which are all written before anyone reads them.
    unsafe {
        let start = enif_make_new_binary(env, bytes.len(), &raw mut term);
        if !bytes.is_empty() {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len());
        }
    }
    term
}

/// As [`binary`], for bytes whose number comes from data. `None`: there is no memory. (The VM
/// itself ends when it has none.)
///
/// # Safety
/// `env` belongs to the current thread.
pub(crate) unsafe fn try_binary(env: *mut ErlNifEnv, bytes: &[u8]) -> Option<ErlNifTerm> {
    /// Smaller binaries don't fail.
    const SMALL: usize = 64 << 10;
    // SAFETY: passed on to the caller.
    unsafe {
        if bytes.len() <= SMALL {
            return Some(binary(env, bytes));
        }
        let mut new = new_binary(bytes.len())?;
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), new.data, bytes.len());
        Some(enif_make_binary(env, &raw mut new))
    }
}

/// Memory for a binary, to be written to, and then made a term or released. `None`: there is none.
pub(crate) fn new_binary(length: usize) -> Option<ErlNifBinary> {
    let mut new = std::mem::MaybeUninit::<ErlNifBinary>::uninit();
    // SAFETY: filled in if the call says so.
    unsafe { (enif_alloc_binary(length, new.as_mut_ptr()) != 0).then(|| new.assume_init()) }
}

/// A map whose keys are atoms, all different.
///
/// # Safety
/// `env` belongs to the current thread and the values are its terms.
pub(crate) unsafe fn atom_map(env: *mut ErlNifEnv, pairs: &[(&str, ErlNifTerm)]) -> ErlNifTerm {
    // SAFETY: passed on to the caller; putting into a map succeeds.
    unsafe {
        let mut map = enif_make_new_map(env);
        for (key, value) in pairs {
            enif_make_map_put(env, map, atom(env, key), *value, &raw mut map);
        }
        map
    }
}
