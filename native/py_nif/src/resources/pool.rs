//! A pool: an array of slots, each with the pid of its context, and the choice among them.
//!
//! A slot's pid is one word, read and replaced atomically, so that routing takes no lock and a
//! restarted context changes nothing but its slot: the term in `persistent_term` stays the same.
//! Every change takes a lock, because a resize copies the slots.
//!
//! Two ways to choose a context for a scheduler: [`Pool::context`] keeps to the scheduler's own
//! slots, [`Pool::spread`] leaves them for any other slot as soon as they are busy.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use rustler::Env;
use rustler::sys::{
    ErlNifEnv, ErlNifPid, ErlNifResourceFlags, ErlNifResourceType, ErlNifResourceTypeInit,
    ErlNifTerm, c_void, enif_alloc_resource, enif_get_resource, enif_init_resource_type,
    enif_is_process_alive, enif_make_resource, enif_release_resource,
};

use crate::resources::contexts::{self, Context};
use crate::term::{from_bits, local_pid, pid_term, to_bits};

/// A slot that has never had a context.
const NOBODY: usize = 0;

/// How many slots are examined for one call. More would cost the scheduler more than the balance is
/// worth. Each call begins with another slot.
const MAX_EXAMINED: usize = 64;

/// The slots of a pool. Resizing replaces the array, which is rare; reading it is not.
pub(crate) struct Pool {
    slots: ArcSwap<Vec<Slot>>,
    /// Locked to change a slot or the array, never to read.
    changing: Mutex<()>,
    /// Whether it is to be stopped: a supervisor that restarts doesn't go on with it.
    closed: AtomicBool,
    /// How many schedulers the VM has: slots that far apart belong to one scheduler.
    schedulers: usize,
    /// Whether calls leave their scheduler's slots for others that are less busy.
    spreads: bool,
}

/// The place of one context.
struct Slot {
    /// The word of its pid.
    pid: AtomicUsize,
    /// Its context is alive, but takes no more jobs.
    leaving: AtomicBool,
    /// The context behind the pid, for its load.
    context: ArcSwapOption<Context>,
}

impl Slot {
    fn empty() -> Self {
        Slot {
            pid: AtomicUsize::new(NOBODY),
            leaving: AtomicBool::new(false),
            context: ArcSwapOption::empty(),
        }
    }

    fn copy(&self) -> Self {
        Slot {
            pid: AtomicUsize::new(self.pid()),
            leaving: AtomicBool::new(self.is_leaving()),
            context: ArcSwapOption::new(self.context.load_full()),
        }
    }

    /// How many jobs wait or run in its context.
    fn load(&self) -> usize {
        let context = self.context.load();
        match context.as_deref() {
            Some(context) if context.is_replaced() => self.find_context().map_or(0, |c| c.load()),
            Some(context) => context.load(),
            None => 0,
        }
    }

    /// Finds the context behind the pid: another one may have taken over behind the same pid.
    #[cold]
    fn find_context(&self) -> Option<Arc<Context>> {
        let pid = self.pid();
        let found = contexts::context_of(pid)?;
        // Unless the slot has another context by now.
        if self.pid() == pid {
            self.context.store(Some(Arc::clone(&found)));
        }
        Some(found)
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
        // pointer, which is what a `Pool` is; the term holds the object once our reference is
        // released.
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

    pub(crate) fn new(size: usize, schedulers: usize, spreads: bool) -> Self {
        Pool {
            slots: ArcSwap::from_pointee((0..size).map(|_| Slot::empty()).collect()),
            changing: Mutex::new(()),
            closed: AtomicBool::new(false),
            schedulers,
            spreads,
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
            slot.pid.store(to_bits(pid_term(pid)), Ordering::Release);
            slot.context.store(None);
            slot.find_context();
        }
    }

    /// The context in a slot stops: it gets no more callers while another lives.
    pub(crate) fn leave(&self, slot: usize, pid: ErlNifPid) {
        let _changing = self.changing.lock();
        if let Some(slot) = self.slots.load().get(slot)
            && slot.pid() == to_bits(pid_term(pid))
        {
            slot.leaving.store(true, Ordering::Release);
        }
    }

    /// Grows or shrinks.
    pub(crate) fn resize(&self, size: usize) {
        let _changing = self.changing.lock();
        let old = self.slots.load();
        let slot = |n: usize| old.get(n).map_or_else(Slot::empty, Slot::copy);
        self.slots.store((0..size).map(slot).collect::<Vec<_>>().into());
    }

    /// The context of a scheduler (from 1): of its slots, those `schedulers` apart, the first that
    /// is idle, else the one with the fewest jobs. While none of them serves, the next slot that
    /// does, and while none at all does, the last context of its first slot. `None`: no slot of
    /// this pool has ever been filled.
    ///
    /// # Safety
    /// `env` is that of the running NIF call.
    pub(crate) unsafe fn context(
        &self,
        env: *mut ErlNifEnv,
        scheduler: usize,
    ) -> Option<ErlNifTerm> {
        let slots = self.slots.load();
        let first = (scheduler - 1) % slots.len();
        // SAFETY: passed on to the caller.
        unsafe {
            let own = slots[first..].iter().step_by(self.schedulers);
            let chosen = match slots.len() > self.schedulers {
                true => least_loaded(env, own.take(MAX_EXAMINED)),
                false => None,
            };
            chosen.or_else(|| next_serving(env, &slots, first))
        }
    }

    /// Where a call goes that is left to the pool: to the context of its scheduler if that is idle,
    /// else to any that is, else to one with the fewest jobs. As [`Pool::context`] where the pool
    /// doesn't spread.
    ///
    /// # Safety
    /// `env` is that of the running NIF call.
    pub(crate) unsafe fn spread(
        &self,
        env: *mut ErlNifEnv,
        scheduler: usize,
    ) -> Option<ErlNifTerm> {
        if !self.spreads {
            // SAFETY: passed on to the caller.
            return unsafe { self.context(env, scheduler) };
        }
        let slots = self.slots.load();
        let own = (scheduler - 1) % slots.len();
        // SAFETY: passed on to the caller.
        unsafe {
            if slots[own].load() == 0 && slots[own].serves(env) {
                return Some(from_bits(slots[own].pid()));
            }
            let start = rotating(slots.len());
            let others = slots[start..].iter().chain(&slots[..start]);
            least_loaded(env, others.take(MAX_EXAMINED)).or_else(|| next_serving(env, &slots, own))
        }
    }

    /// Everybody in the slots, in order.
    pub(crate) fn pids(&self) -> Vec<ErlNifTerm> {
        let slots = self.slots.load();
        let pids = slots.iter().map(Slot::pid).filter(|pid| *pid != NOBODY);
        // SAFETY: slots hold pids.
        pids.map(|pid| unsafe { from_bits(pid) }).collect()
    }
}

/// Of the slots that serve the first that is idle, else the first of those with the fewest jobs.
///
/// # Safety
/// `env` is that of the running NIF call.
unsafe fn least_loaded<'a>(
    env: *mut ErlNifEnv,
    slots: impl Iterator<Item = &'a Slot>,
) -> Option<ErlNifTerm> {
    let (mut least, mut chosen) = (usize::MAX, None);
    for slot in slots {
        let load = slot.load();
        // SAFETY: passed on to the caller.
        if load < least && unsafe { slot.serves(env) } {
            (least, chosen) = (load, Some(slot));
            if load == 0 {
                break;
            }
        }
    }
    // SAFETY: a slot that serves has a pid.
    chosen.map(|slot| unsafe { from_bits(slot.pid()) })
}

/// The first slot from `first` on that serves. While none does, the first that has ever been
/// filled.
///
/// # Safety
/// `env` is that of the running NIF call.
unsafe fn next_serving(env: *mut ErlNifEnv, slots: &[Slot], first: usize) -> Option<ErlNifTerm> {
    let mut after = slots[first..].iter().chain(&slots[..first]);
    // SAFETY: passed on to the caller.
    let serving = after.clone().find(|slot| unsafe { slot.serves(env) });
    let slot = serving.or_else(|| after.find(|slot| slot.pid() != NOBODY))?;
    // SAFETY: what is not nobody is a pid.
    Some(unsafe { from_bits(slot.pid()) })
}

/// A number below `size`, the next one each time this thread asks: where several slots are equally
/// busy, each gets its share.
fn rotating(size: usize) -> usize {
    thread_local! {
        static NEXT: Cell<usize> = const { Cell::new(0) };
    }
    NEXT.with(|next| {
        next.set(next.get().wrapping_add(1));
        next.get() % size
    })
}

/// # Safety
/// `env` is that of the running NIF call, `pid` the word of a local pid.
unsafe fn is_alive(env: *mut ErlNifEnv, pid: usize) -> bool {
    // SAFETY: a local pid's word is a pid in every environment; the rest is passed on.
    unsafe {
        local_pid(env, from_bits(pid))
            .is_some_and(|pid| enif_is_process_alive(env, &raw const pid) != 0)
    }
}
