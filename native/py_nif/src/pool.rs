//! A pool: an array of slots, each with the pid of its context.
//!
//! A slot is one word, read and replaced atomically, so that routing takes no lock and a restarted
//! context changes nothing but its slot: the term in `persistent_term` stays the same. Who changes
//! anything takes a lock, because a resize copies the slots.

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustler::Env;
use rustler::sys::{
    ErlNifEnv, ErlNifPid, ErlNifResourceFlags, ErlNifResourceType, ErlNifResourceTypeInit,
    ErlNifTerm, c_void, enif_alloc_resource, enif_get_local_pid, enif_get_resource,
    enif_init_resource_type, enif_is_process_alive, enif_make_resource, enif_release_resource,
};

use crate::term::{from_word, pid_term, word};

/// A slot that has never had a context.
const NOBODY: usize = 0;

/// The slots of a pool. Resizing replaces the array, which is rare; reading it is not.
pub(crate) struct Pool {
    slots: ArcSwap<Vec<Slot>>,
    /// Held by who changes a slot or the array, never by who reads.
    changing: Mutex<()>,
    /// It is to be stopped: a process that finds it after a crash doesn't go on with it.
    closed: AtomicBool,
}

/// A place for a context.
struct Slot {
    /// The word of its pid.
    pid: AtomicUsize,
    /// Its context is alive, but takes no more jobs.
    leaving: AtomicBool,
}

impl Slot {
    fn new(pid: usize, leaving: bool) -> Self {
        Slot { pid: AtomicUsize::new(pid), leaving: AtomicBool::new(leaving) }
    }

    fn pid(&self) -> usize {
        self.pid.load(Ordering::Acquire)
    }

    fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// # Safety
    /// `env` is that of the running NIF call.
    unsafe fn serves(&self, env: *mut ErlNifEnv) -> bool {
        let pid = self.pid();
        // SAFETY: what is not nobody is a pid; the caller vouches for the environment.
        pid != NOBODY && !self.is_leaving() && unsafe { is_alive(env, pid) }
    }
}

/// The resource type of pools. Rustler's own registration finds a type through a hash map on every
/// decoding, which is a third of what routing costs; this is one load.
static POOL_TYPE: AtomicPtr<ErlNifResourceType> = AtomicPtr::new(std::ptr::null_mut());

/// Registers the resource type, when the library is loaded.
pub(crate) fn register_type(env: Env) -> bool {
    let init = ErlNifResourceTypeInit {
        dtor: drop_pool as *const _,
        stop: std::ptr::null(),
        down: std::ptr::null(),
        members: 1,
        dyncall: std::ptr::null(),
    };
    let create = ErlNifResourceFlags::ERL_NIF_RT_CREATE;
    let mut tried = create;
    // SAFETY: called from `load`, as the VM demands; name and init are read during the call only.
    let made = unsafe {
        enif_init_resource_type(
            env.as_c_arg(),
            c"py_pool".as_ptr(),
            &raw const init,
            create,
            &raw mut tried,
        )
    };
    POOL_TYPE.store(made.cast_mut(), Ordering::Release);
    !made.is_null()
}

unsafe extern "C" fn drop_pool(_: *mut ErlNifEnv, pool: *mut c_void) {
    // SAFETY: the VM calls this once per object, and every object is a `Pool` from `into_term`.
    unsafe { std::ptr::drop_in_place(pool.cast::<Pool>()) };
}

impl Pool {
    /// Hands the pool over to the VM, as a term of `env`.
    ///
    /// # Safety
    /// `env` is that of the running NIF call.
    pub(crate) unsafe fn into_term(self, env: *mut ErlNifEnv) -> ErlNifTerm {
        // SAFETY: the type is registered before any NIF runs; the VM's memory is aligned for a
        // pointer, which is what a `Pool` is; the term holds the object once we let go.
        unsafe {
            let object = enif_alloc_resource(POOL_TYPE.load(Ordering::Acquire), size_of::<Pool>());
            object.cast::<Pool>().write(self);
            let term = enif_make_resource(env, object);
            enif_release_resource(object);
            term
        }
    }

    /// The pool that a term stands for. `None`: it is no pool.
    ///
    /// # Safety
    /// `term` belongs to `env`, that of the running NIF call, which keeps the pool alive.
    pub(crate) unsafe fn from_term<'a>(env: *mut ErlNifEnv, term: ErlNifTerm) -> Option<&'a Pool> {
        let mut object: *const c_void = std::ptr::null();
        // SAFETY: an object of this type is a `Pool`, never written after it was made.
        unsafe {
            let kind = POOL_TYPE.load(Ordering::Acquire);
            (enif_get_resource(env, term, kind, &raw mut object) != 0).then(|| &*object.cast())
        }
    }

    pub(crate) fn new(size: usize) -> Self {
        Pool {
            slots: ArcSwap::from_pointee((0..size).map(|_| Slot::new(NOBODY, false)).collect()),
            changing: Mutex::new(()),
            closed: AtomicBool::new(false),
        }
    }

    /// Nobody shall go on with it.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether it is to be stopped.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Puts a context into its slot (from 0). Slots that a resize has removed are ignored.
    pub(crate) fn set(&self, slot: usize, pid: ErlNifPid) {
        let _changing = self.changing.lock();
        if let Some(slot) = self.slots.load().get(slot) {
            slot.leaving.store(false, Ordering::Release);
            slot.pid.store(word(pid_term(pid)), Ordering::Release);
        }
    }

    /// The context in a slot stops: it gets no more callers while another lives.
    pub(crate) fn leave(&self, slot: usize, pid: ErlNifPid) {
        let _changing = self.changing.lock();
        if let Some(slot) = self.slots.load().get(slot)
            && slot.pid() == word(pid_term(pid))
        {
            slot.leaving.store(true, Ordering::Release);
        }
    }

    /// Grows or shrinks.
    pub(crate) fn resize(&self, size: usize) {
        let _changing = self.changing.lock();
        let old = self.slots.load();
        let slot = |n: usize| match old.get(n) {
            Some(slot) => Slot::new(slot.pid(), slot.is_leaving()),
            None => Slot::new(NOBODY, false),
        };
        self.slots.store((0..size).map(slot).collect::<Vec<_>>().into());
    }

    /// The context for a scheduler (from 1): its slot's, or the next one's that serves. While none
    /// does, the slot's last. `None`: no slot of this pool has ever been filled.
    ///
    /// # Safety
    /// `env` is that of the running NIF call.
    pub(crate) unsafe fn route(&self, env: *mut ErlNifEnv, scheduler: usize) -> Option<ErlNifTerm> {
        let slots = self.slots.load();
        let first = (scheduler - 1) % slots.len();
        let mut after = slots[first..].iter().chain(&slots[..first]);
        // SAFETY: passed on to the caller.
        let serving = after.clone().find(|slot| unsafe { slot.serves(env) });
        let slot = serving.or_else(|| after.find(|slot| slot.pid() != NOBODY))?;
        // SAFETY: what is not nobody is a pid.
        Some(unsafe { from_word(slot.pid()) })
    }

    /// Everybody in the slots, in order.
    pub(crate) fn pids(&self) -> Vec<ErlNifTerm> {
        let slots = self.slots.load();
        let pids = slots.iter().map(Slot::pid).filter(|pid| *pid != NOBODY);
        // SAFETY: slots hold pids.
        pids.map(|pid| unsafe { from_word(pid) }).collect()
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
