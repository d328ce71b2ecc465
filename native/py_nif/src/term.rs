//! The few raw term operations that everything else builds on.
//!
//! Terms are built on context threads in process-independent environments, where Rustler's `Term`
//! (tied to a NIF call's `Env`) is in the way and costs twice the time for lists.

use rustler::sys::{
    ErlNifBinary, ErlNifEnv, ErlNifPid, ErlNifTerm, enif_alloc_binary, enif_alloc_env,
    enif_free_env, enif_get_int64, enif_get_tuple, enif_is_atom, enif_make_atom_len,
    enif_make_binary, enif_make_copy, enif_make_map_put, enif_make_new_binary, enif_make_new_map,
    enif_make_pid, enif_make_tuple_from_array,
};

/// An immediate term (an atom or local pid) as a word that can be kept: it is the same in every
/// environment and needs none.
#[inline(always)]
pub(crate) fn word(term: ErlNifTerm) -> usize {
    // SAFETY: a term is a transparent machine word.
    unsafe { std::mem::transmute::<ErlNifTerm, usize>(term) }
}

/// The term that [`word`] took.
///
/// # Safety
/// The word is that of an immediate term.
pub(crate) unsafe fn from_word(word: usize) -> ErlNifTerm {
    // SAFETY: as above; the caller says that it is a valid term.
    unsafe { std::mem::transmute::<usize, ErlNifTerm>(word) }
}

/// Whether a term is an atom or a small integer, and so an immediate term. Not all of those are found.
///
/// # Safety
/// `term` belongs to `env`, which belongs to the current thread.
pub(crate) unsafe fn is_plain(env: *mut ErlNifEnv, term: ErlNifTerm) -> bool {
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

/// A local pid as a term, which it is in every environment.
pub(crate) fn pid_term(pid: ErlNifPid) -> ErlNifTerm {
    // SAFETY: the environment is not looked at.
    unsafe { enif_make_pid(std::ptr::null_mut(), pid) }
}

/// A process-independent environment, freed with its terms when dropped.
#[derive(Debug)]
pub(crate) struct OwnedEnv(*mut ErlNifEnv);

// SAFETY: a process-independent environment may be used by any thread, one at a time; `&OwnedEnv`
// only hands out the pointer, whose users say why they are alone or only read.
unsafe impl Send for OwnedEnv {}
// SAFETY: as above.
unsafe impl Sync for OwnedEnv {}

impl OwnedEnv {
    pub(crate) fn new() -> Self {
        // SAFETY: no preconditions; the VM aborts rather than return null.
        OwnedEnv(unsafe { enif_alloc_env() })
    }

    pub(crate) fn as_ptr(&self) -> *mut ErlNifEnv {
        self.0
    }
}

impl Drop for OwnedEnv {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`, freed once.
        unsafe { enif_free_env(self.0) };
    }
}

/// A term that outlives the call it came with. Read-only once made.
#[derive(Debug)]
pub(crate) struct Saved {
    term: ErlNifTerm,
    env: OwnedEnv,
}

impl Saved {
    /// Copies `term`.
    ///
    /// # Safety
    /// `term` is valid in an environment of the current thread.
    pub(crate) unsafe fn new(term: ErlNifTerm) -> Self {
        let env = OwnedEnv::new();
        // SAFETY: the new environment is ours; the caller vouches for the term.
        let term = unsafe { enif_make_copy(env.as_ptr(), term) };
        Saved { term, env }
    }

    /// The term, which lives as long as `self`.
    pub(crate) fn term(&self) -> ErlNifTerm {
        self.term
    }

    /// The term's environment, which may only be read.
    pub(crate) fn env(&self) -> *mut ErlNifEnv {
        self.env.as_ptr()
    }

    /// A copy of the term in `env`.
    ///
    /// # Safety
    /// `env` belongs to the current thread.
    pub(crate) unsafe fn copy_to(&self, env: *mut ErlNifEnv) -> ErlNifTerm {
        // SAFETY: our own environment is never written again.
        unsafe { enif_make_copy(env, self.term) }
    }
}

/// An atom known to this library at compile time.
///
/// # Safety
/// `env` belongs to the current thread.
pub(crate) unsafe fn atom(env: *mut ErlNifEnv, name: &str) -> ErlNifTerm {
    // SAFETY: the name is at most a few ASCII characters.
    unsafe { enif_make_atom_len(env, name.as_ptr().cast(), name.len()) }
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
pub(crate) unsafe fn first_is(env: *mut ErlNifEnv, term: ErlNifTerm, name: &str) -> bool {
    // SAFETY: passed on to the caller; a tuple's elements are read while it lives.
    unsafe {
        let first = elements(env, term).first();
        first.is_some_and(|first| word(*first) == word(atom(env, name)))
    }
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

/// As [`binary`], for bytes whose number comes from data. `None`: there is no memory. (The VM itself ends
/// when it has none.)
///
/// # Safety
/// `env` belongs to the current thread.
pub(crate) unsafe fn try_binary(env: *mut ErlNifEnv, bytes: &[u8]) -> Option<ErlNifTerm> {
    /// Not worth asking for.
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
