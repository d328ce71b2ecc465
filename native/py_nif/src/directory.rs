//! Which context stands behind a pid.
//!
//! Read by every call on every scheduler, written when a context starts or dies: readers take a
//! snapshot without a lock or a shared counter, writers replace it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use rustler::ResourceArc;
use rustler::sys::{ErlNifPid, ErlNifTerm};

use crate::call::Call;
use crate::resources::ContextHandle;
use crate::term::{from_word, pid_term};

/// A context as the router knows it.
pub(crate) type Context = py_runtime::context::Context<Call>;

/// Keeps the handle alive as long as its process: a collected handle would lose its monitor.
pub(crate) struct Entry {
    pub(crate) context: Arc<Context>,
    _handle: ResourceArc<ContextHandle>,
}

type Directory = HashMap<ErlNifTerm, Arc<Entry>>;

static DIRECTORY: LazyLock<ArcSwap<Directory>> = LazyLock::new(Default::default);

/// Lists a context under its process.
pub(crate) fn insert(pid: ErlNifPid, handle: ResourceArc<ContextHandle>) {
    let entry = Arc::new(Entry { context: Arc::clone(&handle.context), _handle: handle });
    DIRECTORY.rcu(|directory| {
        let mut directory = Directory::clone(directory);
        directory.insert(pid_term(pid), Arc::clone(&entry));
        directory
    });
}

/// Forgets the context of a process that has died.
pub(crate) fn remove(pid: ErlNifPid) {
    DIRECTORY.rcu(|directory| {
        let mut directory = Directory::clone(directory);
        directory.remove(&pid_term(pid));
        directory
    });
}

/// The processes of all contexts.
pub(crate) fn pids() -> Vec<ErlNifTerm> {
    DIRECTORY.load().keys().copied().collect()
}

/// Does something with the context of a process.
pub(crate) fn with<T>(pid: ErlNifPid, f: impl FnOnce(&Arc<Context>) -> T) -> Option<T> {
    DIRECTORY.load().get(&pid_term(pid)).map(|entry| f(&entry.context))
}

/// The context of a process, given as the word of its pid.
pub(crate) fn context_of(pid: usize) -> Option<Arc<Context>> {
    // SAFETY: only looked up, as a number.
    let pid = unsafe { from_word(pid) };
    DIRECTORY.load().get(&pid).map(|entry| Arc::clone(&entry.context))
}
