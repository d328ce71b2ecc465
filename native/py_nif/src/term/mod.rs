//! Terms: the few raw operations that everything else builds on, over the VM's own functions.
//!
//! Terms are built on context threads in process-independent environments, where Rustler's `Term`
//! (tied to a NIF call's `Env`) is in the way and costs twice the time for lists.
//!
//! Uses nothing else of the crate. It must never know what a term is for.

mod build;
mod env_pool;
mod read;
mod word_hasher;

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::mem::MaybeUninit;

use rustler::sys::{
    ErlNifEnv, ErlNifPid, ErlNifTerm, enif_alloc_env, enif_clear_env, enif_free_env,
    enif_get_local_pid, enif_is_atom, enif_make_copy, enif_make_pid, enif_send, enif_whereis_pid,
};

pub(crate) use build::{atom, atom_map, binary, new_binary, ok, try_binary, tuple};
pub(crate) use env_pool::EnvPool;
pub(crate) use read::{
    ATOM_UTF8, BIT_BINARY, Encoded, MAX_ATOM, Pairs, SMALL_ATOM_UTF8, VERSION, atom_name, elements,
    existing_atom, inspect, is_immediate, is_tagged, print,
};
pub(crate) use word_hasher::BuildWordHasher;

/// An immediate term (an atom or local pid) as a word that can be kept: it is the same in every
/// environment and needs none.
#[inline(always)]
pub(crate) fn to_bits(term: ErlNifTerm) -> usize {
    // SAFETY: a term is a transparent machine word.
    unsafe { std::mem::transmute::<ErlNifTerm, usize>(term) }
}

/// The term that [`to_bits`] took.
///
/// # Safety
/// The word is that of an immediate term.
pub(crate) unsafe fn from_bits(bits: usize) -> ErlNifTerm {
    // SAFETY: as above; the caller says that it is a valid term.
    unsafe { std::mem::transmute::<usize, ErlNifTerm>(bits) }
}

/// A local pid as a term, which it is in every environment.
pub(crate) fn pid_term(pid: ErlNifPid) -> ErlNifTerm {
    // SAFETY: the environment is not looked at.
    unsafe { enif_make_pid(std::ptr::null_mut(), pid) }
}

thread_local! {
    /// The environment of the NIF call in which Python code runs on this scheduler.
    static CALLING: Cell<*mut ErlNifEnv> = const { Cell::new(std::ptr::null_mut()) };
}

/// The environment to give to the VM's functions that ask which process calls: null on native
/// threads, on which the VM takes that for "none". On a scheduler it must be the calling process's.
pub(crate) fn calling_env() -> *mut ErlNifEnv {
    CALLING.get()
}

/// Whether Python code runs on this thread in a NIF call: then nothing may wait.
pub(crate) fn is_calling() -> bool {
    !CALLING.get().is_null()
}

/// Python code runs in a NIF call, on its scheduler, as long as this lives.
pub(crate) struct Calling(*mut ErlNifEnv);

impl Calling {
    /// # Safety
    /// `env` is that of the running NIF call, which outlives the result.
    pub(crate) unsafe fn enter(env: *mut ErlNifEnv) -> Self {
        Calling(CALLING.replace(env))
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        CALLING.set(self.0);
    }
}

/// Sends a message, which empties `env`. `false`: the process is not alive.
///
/// # Safety
/// `message` belongs to `env`, which is process-independent and this thread's. The thread is
/// native, or runs Python code in a NIF call, see [`Calling`].
pub(crate) unsafe fn send(to: ErlNifPid, env: *mut ErlNifEnv, message: ErlNifTerm) -> bool {
    // SAFETY: passed on to the caller.
    unsafe { enif_send(calling_env(), &raw const to, env, message) != 0 }
}

/// The process that is registered under an atom.
///
/// # Safety
/// The thread is as for [`send`].
pub(crate) unsafe fn registered(name: ErlNifTerm) -> Option<ErlNifPid> {
    let mut pid = MaybeUninit::uninit();
    // SAFETY: passed on to the caller; the pid is filled in where the answer isn't 0.
    unsafe {
        (enif_whereis_pid(calling_env(), name, pid.as_mut_ptr()) != 0).then(|| pid.assume_init())
    }
}

/// Two names as atoms, if both are atoms or texts for which there are some.
///
/// # Safety
/// The terms belong to `env`, which is this thread's.
#[inline]
pub(crate) unsafe fn atom_pair(
    env: *mut ErlNifEnv,
    one: ErlNifTerm,
    other: ErlNifTerm,
) -> Option<(ErlNifTerm, ErlNifTerm)> {
    // SAFETY: passed on to the caller.
    unsafe { Some((known_atom(env, one)?, known_atom(env, other)?)) }
}

/// A name, an atom or a text, as an atom. `None`: there is no such atom, or it is no name.
///
/// # Safety
/// `term` belongs to `env`, which is this thread's.
#[inline]
pub(crate) unsafe fn known_atom(env: *mut ErlNifEnv, term: ErlNifTerm) -> Option<ErlNifTerm> {
    // SAFETY: passed on to the caller; the name's bytes live as long as the term.
    unsafe {
        if enif_is_atom(env, term) != 0 {
            return Some(term);
        }
        let name = std::str::from_utf8(inspect(env, term)?).ok()?;
        existing_atom(env, name)
    }
}

/// A process-independent environment, freed with its terms when dropped.
#[derive(Debug)]
pub(crate) struct TermEnv(*mut ErlNifEnv);

// SAFETY: a process-independent environment may be used by any thread, one at a time; `&TermEnv`
// only hands out the pointer, whose users say why they are alone or only read.
unsafe impl Send for TermEnv {}
// SAFETY: as above.
unsafe impl Sync for TermEnv {}

impl TermEnv {
    pub(crate) fn new() -> Self {
        // SAFETY: no preconditions; the VM aborts rather than return null.
        TermEnv(unsafe { enif_alloc_env() })
    }

    pub(crate) fn as_ptr(&self) -> *mut ErlNifEnv {
        self.0
    }

    /// Frees its terms.
    pub(crate) fn clear(&mut self) {
        // SAFETY: nobody else has the environment.
        unsafe { enif_clear_env(self.0) };
    }

    /// Sends a message with all of the environment's terms. `false`: the process is not alive.
    ///
    /// # Safety
    /// As for [`send_terms`](Self::send_terms).
    pub(crate) unsafe fn send(self, to: ErlNifPid, message: ErlNifTerm) -> bool {
        // SAFETY: passed on to the caller; the environment is freed after.
        unsafe { self.send_terms(to, message) }
    }

    /// As [`send`](Self::send), of an environment that is kept. It has no terms after.
    ///
    /// # Safety
    /// `message` is a term of this environment, and no thread reads its terms any more. The thread
    /// is as for the function [`send`].
    pub(crate) unsafe fn send_terms(&self, to: ErlNifPid, message: ErlNifTerm) -> bool {
        // SAFETY: passed on to the caller.
        unsafe { send(to, self.0, message) }
    }
}

impl Drop for TermEnv {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`, freed once.
        unsafe { enif_free_env(self.0) };
    }
}

/// A term that outlives the call it came with. Read-only once made.
#[derive(Debug)]
pub(crate) struct SavedTerm {
    term: ErlNifTerm,
    env: TermEnv,
}

impl SavedTerm {
    /// Copies `term`.
    ///
    /// # Safety
    /// `term` is valid in an environment of the current thread.
    pub(crate) unsafe fn new(term: ErlNifTerm) -> Self {
        let env = TermEnv::new();
        // SAFETY: the new environment is ours; the caller vouches for the term.
        let term = unsafe { enif_make_copy(env.as_ptr(), term) };
        SavedTerm { term, env }
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

/// The pid that a term is. `None`: it is no pid of this node.
///
/// # Safety
/// `term` belongs to `env`, which belongs to the current thread.
pub(crate) unsafe fn local_pid(env: *mut ErlNifEnv, term: ErlNifTerm) -> Option<ErlNifPid> {
    let mut pid = MaybeUninit::<ErlNifPid>::uninit();
    // SAFETY: passed on to the caller; for a local pid, `pid` is filled in.
    unsafe { (enif_get_local_pid(env, term, pid.as_mut_ptr()) != 0).then(|| pid.assume_init()) }
}

/// A process of this node. It is one word, which any thread may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessId(ErlNifPid);

// SAFETY: a pid is a plain word.
unsafe impl Send for ProcessId {}
// SAFETY: as above.
unsafe impl Sync for ProcessId {}

impl ProcessId {
    pub(crate) fn new(pid: ErlNifPid) -> Self {
        ProcessId(pid)
    }

    pub(crate) fn pid(self) -> ErlNifPid {
        self.0
    }

    /// The process whose word [`ProcessId::bits`] gave.
    ///
    /// # Safety
    /// The word is that of a local pid.
    pub(crate) unsafe fn from_bits(bits: usize) -> Self {
        // SAFETY: as the caller vouches; a local pid is looked up in no environment.
        let pid = unsafe { local_pid(std::ptr::null_mut(), from_bits(bits)) };
        ProcessId(pid.expect("a local pid"))
    }

    /// The word of the pid, by which contexts know their owners and processes are compared.
    pub(crate) fn bits(self) -> usize {
        to_bits(pid_term(self.0))
    }
}

impl PartialEq for ProcessId {
    fn eq(&self, other: &Self) -> bool {
        self.bits() == other.bits()
    }
}

impl Eq for ProcessId {}

impl Hash for ProcessId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits().hash(state);
    }
}
