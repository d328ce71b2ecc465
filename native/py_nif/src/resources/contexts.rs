//! Which context stands behind a pid.
//!
//! Read by every call on every scheduler, written when a context starts or dies: readers take a
//! snapshot without a lock or a shared counter, writers replace it. It is in shards, because
//! a snapshot is copied whole to be changed: of thousands of contexts a shard has a hundredth.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use rustler::sys::{ErlNifPid, ErlNifTerm};
use rustler::{Env, LocalPid, Monitor, Resource, ResourceArc};

use crate::request::call::Call;
use crate::request::error::ExitReason;
use crate::term::{BuildWordHasher, EnvPool, from_bits, pid_term, to_bits};

/// A context as the router knows it.
pub(crate) type Context = py_runtime::context::Context<Call>;

/// The native half of a `py_context` process, which it monitors.
pub(crate) struct ContextHandle {
    pub(crate) context: Arc<Context>,
}

// A NIF that panics leaves a context as it found it: its locks don't poison, its counters are
// single words.
impl std::panic::RefUnwindSafe for ContextHandle {}

#[rustler::resource_impl]
impl Resource for ContextHandle {
    const IMPLEMENTS_DOWN: bool = true;

    /// The process is dead. If it had time to say why, the context is closed already and this
    /// changes nothing; else it was killed.
    fn down<'a>(&'a self, _: Env<'a>, pid: LocalPid, _: Monitor) {
        remove(*pid.as_c_arg());
        self.context.kill(ExitReason::Killed);
    }
}

/// A process that is killed while it gets the handle may take the monitor along unfired: its heap
/// went first. A context that nobody has a handle on ends all the same. A context that
/// has been replaced is killed once more, which changes nothing.
impl Drop for ContextHandle {
    fn drop(&mut self) {
        self.context.kill(ExitReason::Killed);
    }
}

/// Keeps the handle alive as long as its process: a collected handle would lose its monitor.
pub(crate) struct Entry {
    pub(crate) context: Arc<Context>,
    _handle: ResourceArc<ContextHandle>,
}

type Shard = HashMap<ErlNifTerm, Arc<Entry>, BuildWordHasher>;

/// A power of two.
const SHARDS: usize = 128;

static CONTEXTS: LazyLock<[ArcSwap<Shard>; SHARDS]> =
    LazyLock::new(|| std::array::from_fn(|_| ArcSwap::default()));

static ENVS: [EnvPool; SHARDS] = [const { EnvPool::new() }; SHARDS];

/// The number of the shard with a pid. The lowest four bits of a local pid say that it is one.
fn shard_number(pid: ErlNifTerm) -> usize {
    (to_bits(pid) >> 4) % SHARDS
}

fn shard(pid: ErlNifTerm) -> &'static ArcSwap<Shard> {
    &CONTEXTS[shard_number(pid)]
}

/// Environments for the requests of a context, which few others share with it.
pub(crate) fn envs(pid: ErlNifPid) -> &'static EnvPool {
    &ENVS[shard_number(pid_term(pid))]
}

/// Lists a context under its process.
pub(crate) fn insert(pid: ErlNifPid, handle: ResourceArc<ContextHandle>) {
    let pid = pid_term(pid);
    let entry = Arc::new(Entry { context: Arc::clone(&handle.context), _handle: handle });
    shard(pid).rcu(|shard| {
        let mut shard = Shard::clone(shard);
        shard.insert(pid, Arc::clone(&entry));
        shard
    });
}

/// Forgets the context of a process that has died.
pub(crate) fn remove(pid: ErlNifPid) {
    let pid = pid_term(pid);
    shard(pid).rcu(|shard| {
        let mut shard = Shard::clone(shard);
        shard.remove(&pid);
        shard
    });
}

/// The processes of all contexts.
pub(crate) fn pids() -> Vec<ErlNifTerm> {
    CONTEXTS.iter().flat_map(|shard| shard.load().keys().copied().collect::<Vec<_>>()).collect()
}

/// Does something with the context of a process.
pub(crate) fn lookup<T>(pid: ErlNifPid, f: impl FnOnce(&Arc<Context>) -> T) -> Option<T> {
    let pid = pid_term(pid);
    shard(pid).load().get(&pid).map(|entry| f(&entry.context))
}

/// The context of a process, given as the word of its pid.
pub(crate) fn context_of(pid: usize) -> Option<Arc<Context>> {
    // SAFETY: only looked up, as a number.
    let pid = unsafe { from_bits(pid) };
    shard(pid).load().get(&pid).map(|entry| Arc::clone(&entry.context))
}
