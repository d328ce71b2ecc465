//! On which scheduler a NIF copies what it was given.
//!
//! A term that leaves its process is copied in one go, which the VM can't interrupt: the copy of a
//! million numbers keeps a scheduler busy for tens of milliseconds. So a NIF that copies a term
//! weighs it first, by a walk that ends as soon as the term is known to be large. A term that isn't
//! large is copied at once, and the process is charged reductions for it. For a large one the NIF
//! is run again on a dirty scheduler, where no process waits for its turn.
//!
//! The term isn't sent in the external format, encoded by the process and decoded on the context's
//! thread: before OTP 27.3 a large map can't be decoded there (otp#8208).

use std::ffi::CStr;
use std::panic::AssertUnwindSafe;

use rustler::codegen_runtime::handle_nif_result;
use rustler::sys::{
    ERL_NIF_DIRTY_JOB_CPU_BOUND, ErlNifEnv, ErlNifTerm, ErlNifTermType, c_int,
    enif_consume_timeslice, enif_get_int64, enif_get_list_cell, enif_get_map_size, enif_is_atom,
    enif_is_empty_list, enif_schedule_nif, enif_term_type,
};
use rustler::{Env, NifResult, Term};

use crate::scheduler;
use crate::term::{Pairs, elements, inspect, to_bits};

/// A NIF as the VM calls it.
pub(crate) type RawNif =
    unsafe extern "C" fn(*mut ErlNifEnv, c_int, *const ErlNifTerm) -> ErlNifTerm;

/// How much a scheduler copies, in weights, each about a word. That takes some 0.1 ms, and
/// several times as long where memory for the copy has to come from the system.
const MAX_ON_SCHEDULER: u32 = 20_000;

/// How much weight is one percent of a timeslice, which is some 1 ms.
const WEIGHT_PER_PERCENT: u32 = 500;

/// How many levels are walked. A term with more counts as large.
const MAX_LEVELS: u32 = 64;

/// A term of at most this weight is [small](Size::Small). The VM allocates no less memory for the
/// first term of an environment.
const MAX_SMALL: u32 = 64;

/// The VM copies binaries of at most so many bytes (`ERL_ONHEAP_BIN_LIMIT`), and shares others.
const MAX_COPIED_BINARY: usize = 64;

/// Weights of terms that are more than a word. How long an integer beyond 64 bits is can't be
/// asked; most are keys and hashes.
const FLOAT: u32 = 2;
const BITSTRING: u32 = 4;
/// How many bytes are read in the time that a word takes.
const BYTES_PER_WEIGHT: usize = 64;
const LONG_INTEGER: u32 = 32;

/// How much there is to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// A few words, without a binary that the copy shares.
    Small,
    /// More.
    Any,
}

/// For a NIF that is about to copy `copied`, an argument of its own: makes the process pay for it.
/// `Err(term)`: the NIF is to return that at once, because it is run again on a dirty scheduler.
///
/// # Safety
/// `env`, `argc` and `argv` are those of the running call of `nif`, and `copied` is of its terms.
#[inline]
pub(crate) unsafe fn elsewhere(
    env: *mut ErlNifEnv,
    name: &CStr,
    nif: RawNif,
    (argc, argv): (c_int, *const ErlNifTerm),
    copied: ErlNifTerm,
) -> Result<Size, ErlNifTerm> {
    // SAFETY: passed on to the caller. A NIF may have itself run again with its own arguments.
    unsafe {
        match weight(env, copied) {
            Some((weight, size)) if weight < WEIGHT_PER_PERCENT => Ok(size),
            Some((weight, size)) => {
                enif_consume_timeslice(env, (weight / WEIGHT_PER_PERCENT) as c_int);
                Ok(size)
            }
            None if !scheduler::is_normal() => Ok(Size::Any),
            None => {
                let flags = ERL_NIF_DIRTY_JOB_CPU_BOUND as c_int;
                Err(enif_schedule_nif(env, name.as_ptr(), flags, nif, argc, argv))
            }
        }
    }
}

/// Runs the body of a NIF as `#[rustler::nif]` does, for one that has to have a name in Rust.
///
/// # Safety
/// `env`, `argc` and `argv` are those of the running NIF call.
pub(crate) unsafe fn body(
    env: *mut ErlNifEnv,
    (argc, argv): (c_int, *const ErlNifTerm),
    body: impl for<'a> FnOnce(Env<'a>, &[Term<'a>]) -> NifResult<Term<'a>>,
) -> ErlNifTerm {
    // SAFETY: passed on to the caller; the terms don't outlive the call.
    unsafe {
        let env = Env::new(&env, env);
        let arguments = std::slice::from_raw_parts(argv, usize::try_from(argc).unwrap_or(0));
        let arguments: Vec<_> = arguments.iter().map(|&term| Term::new(env, term)).collect();
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| body(env, &arguments)));
        handle_nif_result(result, env).apply(env)
    }
}

/// How much there is to copy; `None`: more than [`MAX_ON_SCHEDULER`].
///
/// # Safety
/// `term` belongs to `env`, which belongs to the current thread.
unsafe fn weight(env: *mut ErlNifEnv, term: ErlNifTerm) -> Option<(u32, Size)> {
    // SAFETY: passed on to the caller.
    let (weight, scale) = unsafe { weight_below(env, term, MAX_ON_SCHEDULER) }?;
    let is_small = scale.is_small() && !scale.shares;
    Some((weight, if is_small { Size::Small } else { Size::Any }))
}

/// Whether there is less than `most` to read, bytes included, which aren't copied where a request
/// is.
///
/// # Safety
/// As for [`weight`].
#[inline]
pub(super) unsafe fn is_light(env: *mut ErlNifEnv, term: ErlNifTerm, most: u32) -> bool {
    // SAFETY: passed on to the caller.
    unsafe { weight_below(env, term, most) }.is_some()
}

/// # Safety
/// As for [`weight`].
#[inline]
unsafe fn weight_below(env: *mut ErlNifEnv, term: ErlNifTerm, most: u32) -> Option<(u32, Scale)> {
    // SAFETY: passed on to the caller.
    let immediate = unsafe { immediate_tag(env, term) };
    let weighs_bytes = most < MAX_ON_SCHEDULER;
    let mut scale = Scale { env, immediate, left: most, shares: false, weighs_bytes };
    // SAFETY: as above.
    unsafe { scale.put(term, MAX_LEVELS)? };
    Some((most - scale.left, scale))
}

/// The tag of terms that are one word, read off a request or an answer: a tuple that begins with an
/// atom. [`NO_TAG`] for anything else.
///
/// # Safety
/// As for [`weight`].
unsafe fn immediate_tag(env: *mut ErlNifEnv, tuple: ErlNifTerm) -> usize {
    // SAFETY: passed on to the caller.
    unsafe {
        match elements(env, tuple).first() {
            Some(&first) if enif_is_atom(env, first) != 0 && tag(first) != tag(tuple) => tag(first),
            _ => NO_TAG,
        }
    }
}

/// No term has this [`tag`].
const NO_TAG: usize = usize::MAX;

/// The lowest two bits of a term, which tell whether it is one word
/// (`TAG_PRIMARY_IMMED1`). The VM doesn't promise that: should it change, weights are wrong, and
/// nothing else is.
#[inline(always)]
fn tag(term: ErlNifTerm) -> usize {
    to_bits(term) & 3
}

struct Scale {
    env: *mut ErlNifEnv,
    /// See [`immediate_tag`].
    immediate: usize,
    left: u32,
    /// Whether there was a binary that the copy shares. Looked for in what may be small.
    shares: bool,
    /// Whether the bytes of a binary count.
    weighs_bytes: bool,
}

impl Scale {
    #[inline(always)]
    fn take(&mut self, weight: u32) -> Option<()> {
        self.left = self.left.checked_sub(weight)?;
        Some(())
    }

    /// Whether it is small so far.
    #[inline(always)]
    fn is_small(&self) -> bool {
        self.left >= MAX_ON_SCHEDULER - MAX_SMALL
    }

    /// # Safety
    /// `term` belongs to the scale's environment.
    #[inline(always)]
    unsafe fn put(&mut self, term: ErlNifTerm, levels: u32) -> Option<()> {
        if tag(term) == self.immediate {
            return self.take(1);
        }
        // SAFETY: passed on to the caller.
        unsafe { self.put_typed(term, levels) }
    }

    /// # Safety
    /// As for [`put`](Self::put).
    #[inline(never)]
    unsafe fn put_typed(&mut self, term: ErlNifTerm, levels: u32) -> Option<()> {
        use ErlNifTermType::*;
        // SAFETY: passed on to the caller; parts of a term belong to its environment.
        unsafe {
            match enif_term_type(self.env, term) {
                ERL_NIF_TERM_TYPE_INTEGER => self.put_integer(term),
                ERL_NIF_TERM_TYPE_FLOAT => self.take(FLOAT),
                ERL_NIF_TERM_TYPE_BITSTRING => self.put_bitstring(term),
                ERL_NIF_TERM_TYPE_LIST => self.put_list(term, levels.checked_sub(1)?),
                ERL_NIF_TERM_TYPE_TUPLE => {
                    let elements = elements(self.env, term);
                    self.take(u32::try_from(elements.len()).ok()?)?;
                    let levels = levels.checked_sub(1)?;
                    elements.iter().try_for_each(|&element| self.put(element, levels))
                }
                ERL_NIF_TERM_TYPE_MAP => self.put_map(term, levels.checked_sub(1)?),
                // What it has closed over is copied too, and can't be asked for.
                ERL_NIF_TERM_TYPE_FUN => None,
                _ => self.take(1),
            }
        }
    }

    /// # Safety
    /// As for [`put`](Self::put), of a bitstring.
    unsafe fn put_bitstring(&mut self, term: ErlNifTerm) -> Option<()> {
        if self.weighs_bytes {
            // SAFETY: passed on to the caller.
            let bytes = unsafe { inspect(self.env, term) }.map_or(0, <[u8]>::len);
            self.take(u32::try_from(bytes / BYTES_PER_WEIGHT).unwrap_or(u32::MAX))?;
        } else if self.is_small() {
            // SAFETY: passed on to the caller.
            let bytes = unsafe { inspect(self.env, term) };
            self.shares |= bytes.is_none_or(|bytes| bytes.len() > MAX_COPIED_BINARY);
        }
        self.take(BITSTRING)
    }

    /// # Safety
    /// As for [`put`](Self::put), of an integer.
    unsafe fn put_integer(&mut self, term: ErlNifTerm) -> Option<()> {
        let mut number = 0;
        // SAFETY: passed on to the caller.
        let is_long = unsafe { enif_get_int64(self.env, term, &raw mut number) } == 0;
        self.take(if is_long { LONG_INTEGER } else { 1 })
    }

    /// # Safety
    /// As for [`put`](Self::put), of a list.
    unsafe fn put_list(&mut self, list: ErlNifTerm, levels: u32) -> Option<()> {
        let (mut head, mut rest) = (list, list);
        // SAFETY: passed on to the caller.
        unsafe {
            while enif_get_list_cell(self.env, rest, &raw mut head, &raw mut rest) != 0 {
                self.take(1)?;
                self.put(head, levels)?;
            }
            if enif_is_empty_list(self.env, rest) != 0 { Some(()) } else { self.put(rest, levels) }
        }
    }

    /// # Safety
    /// As for [`put`](Self::put), of a map.
    unsafe fn put_map(&mut self, map: ErlNifTerm, levels: u32) -> Option<()> {
        let mut size = 0;
        // SAFETY: passed on to the caller.
        unsafe {
            enif_get_map_size(self.env, map, &raw mut size);
            self.take(u32::try_from(size).ok()?)?;
            if size == 0 {
                return Some(());
            }
            for (key, value) in Pairs::new(self.env, map)? {
                self.put(key, levels)?;
                self.put(value, levels)?;
            }
        }
        Some(())
    }
}
