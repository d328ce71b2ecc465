//! Maps from many keys, on a thread that is no scheduler's.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustler::sys::{
    ErlNifEnv, ErlNifTerm, enif_compare, enif_get_map_size, enif_is_identical, enif_make_list_cell,
    enif_make_map_from_arrays, enif_make_map_put,
};

use super::fail::Fail;
use crate::term::print;

/// How many keys a map may have to be made in one go on this thread.
///
/// More than 128 crash the VM before OTP 27.3: it sorts them with the help of a scheduler's random
/// numbers, and this is no scheduler's thread (otp#8208).
static MAX_AT_ONCE: AtomicUsize = AtomicUsize::new(128);

/// The runtime system of OTP 27.3, the first without that limit.
const WITHOUT_LIMIT: [u32; 3] = [15, 2, 3];

/// Sets the version of the runtime system, as `erlang:system_info(version)` tells it.
pub(crate) fn set_otp_version(version: &str) {
    // What follows a number ("rc1") doesn't matter, and what is missing is 0.
    let mut parts = version.split(|character: char| !character.is_ascii_digit());
    let version =
        WITHOUT_LIMIT.map(|_| parts.next().and_then(|part| part.parse().ok()).unwrap_or(0));
    if version >= WITHOUT_LIMIT {
        MAX_AT_ONCE.store(usize::MAX, Ordering::Relaxed);
    }
}

/// How many keys a map may have to be made in one go.
pub(super) fn max_at_once() -> usize {
    MAX_AT_ONCE.load(Ordering::Relaxed)
}

/// A map from as many keys as values.
///
/// # Safety
/// The terms belong to `env`, which may be written to.
#[inline(never)]
pub(super) unsafe fn build_map(
    env: *mut ErlNifEnv,
    keys: &[ErlNifTerm],
    values: &[ErlNifTerm],
) -> Result<ErlNifTerm, Fail> {
    let at_once = keys.len().min(max_at_once());
    let mut map = ErlNifTerm::default();
    // SAFETY: both slices have that many terms, and all terms belong to `env`. A map that is broken
    // because two of many keys are equal (otp#10975) is smaller than it should be, and refused.
    unsafe {
        let (keys_start, values_start) = (keys.as_ptr(), values.as_ptr());
        if enif_make_map_from_arrays(env, keys_start, values_start, at_once, &raw mut map) != 0 {
            for (key, value) in keys[at_once..].iter().zip(&values[at_once..]) {
                // The VM has each map in a block of memory of its own, unless the last block is
                // large enough. For a cell it makes one that is large enough for some more maps.
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
        keys.sort_by(|&one, &other| enif_compare(one, other).cmp(&0));
        keys.windows(2)
            .find(|two| enif_is_identical(two[0], two[1]) != 0)
            .map_or_else(|| "the same".to_owned(), |two| print(two[0]))
    }
}
