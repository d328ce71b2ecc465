//! A pool: an array of slots, each with the pid of its context.
//!
//! A slot is one word, read and replaced atomically, so that routing takes no lock and a restarted
//! context changes nothing but its slot: the term in `persistent_term` stays the same.

use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use rustler::Resource;
use rustler::sys::{ErlNifEnv, ErlNifPid, ErlNifTerm, enif_get_local_pid, enif_is_process_alive};

use crate::term::{from_word, pid_term, word};

/// A slot that has never had a context.
const NOBODY: usize = 0;

/// The slots of a pool. Resizing replaces the array, which is rare; reading it is not.
pub(crate) struct Pool(ArcSwap<Vec<AtomicUsize>>);

#[rustler::resource_impl]
impl Resource for Pool {}

impl Pool {
    pub(crate) fn new(size: usize) -> Self {
        Pool(ArcSwap::from_pointee((0..size).map(|_| AtomicUsize::new(NOBODY)).collect()))
    }

    /// Puts a context into its slot (from 0). Slots that a resize has removed are ignored.
    pub(crate) fn set(&self, slot: usize, pid: ErlNifPid) {
        if let Some(slot) = self.0.load().get(slot) {
            slot.store(word(pid_term(pid)), Ordering::Release);
        }
    }

    /// Grows or shrinks. Called by the pool's one process only.
    pub(crate) fn resize(&self, size: usize) {
        let old = self.0.load();
        let slot = |n| old.get(n).map_or(NOBODY, |slot: &AtomicUsize| slot.load(Ordering::Acquire));
        self.0.store((0..size).map(|n| AtomicUsize::new(slot(n))).collect::<Vec<_>>().into());
    }

    /// The context for a scheduler (from 1): its slot's, or the next living one's. While none
    /// lives, the slot's last. `None`: no slot of this pool has ever been filled.
    ///
    /// # Safety
    /// `env` is that of the running NIF call.
    pub(crate) unsafe fn route(&self, env: *mut ErlNifEnv, scheduler: usize) -> Option<ErlNifTerm> {
        let slots = self.0.load();
        let first = (scheduler - 1) % slots.len();
        let after = slots[first..].iter().chain(&slots[..first]);
        let mut pids = after.map(|slot| slot.load(Ordering::Acquire)).filter(|pid| *pid != NOBODY);
        let last = pids.next()?;
        // SAFETY: slots hold pids; the caller vouches for the environment.
        unsafe {
            if is_alive(env, last) {
                return Some(from_word(last));
            }
            Some(from_word(pids.find(|pid| is_alive(env, *pid)).unwrap_or(last)))
        }
    }

    /// Everybody in the slots, in order.
    pub(crate) fn pids(&self) -> Vec<ErlNifTerm> {
        let slots = self.0.load();
        let pids = slots.iter().map(|slot| slot.load(Ordering::Acquire));
        // SAFETY: slots hold pids.
        pids.filter(|pid| *pid != NOBODY).map(|pid| unsafe { from_word(pid) }).collect()
    }
}

/// # Safety
/// `env` is that of the running NIF call, `pid` the word of a local pid.
unsafe fn is_alive(env: *mut ErlNifEnv, pid: usize) -> bool {
    let mut local = std::mem::MaybeUninit::<ErlNifPid>::uninit();
    // SAFETY: a local pid's word is a pid in every environment, so `local` is filled.
    unsafe {
        enif_get_local_pid(env, from_word(pid), local.as_mut_ptr()) != 0
            && enif_is_process_alive(env, local.as_ptr()) != 0
    }
}
