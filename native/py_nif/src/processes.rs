//! Namespaces of processes: each process that runs Python in a context has names of its own there.
//!
//! Everything here belongs to one context and runs on its thread, but for the down callback: that
//! runs on a scheduler when a process dies, however it dies, and tells the thread, which forgets
//! the namespace.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use py_runtime::exception::Exception;
use py_runtime::namespace::{self, Backdrop};
use py_runtime::object::{Attached, Object};
use rustler::sys::ErlNifPid;
use rustler::{Env, LocalPid, Monitor, Resource, ResourceArc};

use crate::call::Notice;
use crate::directory::Context;
use crate::term::{pid_term, word};

/// A local pid as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProcessId(usize);

impl ProcessId {
    fn of(pid: ErlNifPid) -> Self {
        ProcessId(word(pid_term(pid)))
    }
}

/// The namespaces of one context's processes. Never borrowed while Python code may run: that may
/// wait for Erlang and have other jobs run meanwhile.
#[derive(Default)]
pub(crate) struct Processes {
    namespaces: RefCell<HashMap<ProcessId, Object>>,
    /// Made when the first process needs one: many contexts never do.
    shared: OnceCell<Shared>,
}

struct Shared {
    /// Borrowed while it is brought up to date, which may run destructors: whoever comes then takes
    /// it as it is.
    backdrop: RefCell<Backdrop>,
    merged: Object,
    watch: ResourceArc<Watch>,
}

impl Shared {
    fn new(at: Attached<'_>, context: &Arc<Context>, own: &Object) -> Result<Self, Exception> {
        let backdrop = Backdrop::new(at, own)?;
        let merged = backdrop.merged().clone_ref(at);
        let watch = ResourceArc::new(Watch { context: Arc::clone(context) });
        Ok(Shared { backdrop: RefCell::new(backdrop), merged, watch })
    }

    fn refresh(&self, at: Attached<'_>) -> Result<(), Exception> {
        self.backdrop.try_borrow_mut().map_or(Ok(()), |mut backdrop| backdrop.refresh(at))
    }
}

/// Monitors the processes that have a namespace in the context.
struct Watch {
    context: Arc<Context>,
}

// As for a context's handle: a panic leaves the context as it was.
impl std::panic::RefUnwindSafe for Watch {}

#[rustler::resource_impl]
impl Resource for Watch {
    const IMPLEMENTS_DOWN: bool = true;

    fn down<'a>(&'a self, _: Env<'a>, pid: LocalPid, _: Monitor) {
        self.context.notify(Notice::ProcessDied(ProcessId::of(*pid.as_c_arg())));
    }
}

impl Processes {
    /// The namespace of a process, made if it has none, before the context's `own` one as that is
    /// now.
    pub(crate) fn namespace(
        &self,
        at: Attached<'_>,
        context: &Arc<Context>,
        own: &Object,
        pid: ErlNifPid,
    ) -> Result<Object, Exception> {
        let shared = match self.shared.get() {
            Some(shared) => shared,
            None => {
                let shared = Shared::new(at, context, own)?;
                self.shared.get_or_init(|| shared)
            }
        };
        shared.refresh(at)?;
        let id = ProcessId::of(pid);
        if let Some(namespace) = self.namespaces.borrow().get(&id) {
            return Ok(namespace.clone_ref(at));
        }
        let namespace = namespace::before(at, &shared.merged)?;
        // A process that is dead already is not told of again: its namespace lasts for this job.
        // The monitor's end is noticed by this thread, so not before the entry is made.
        if shared.watch.monitor(None, &LocalPid::from_c_arg(pid)).is_some() {
            self.namespaces.borrow_mut().insert(id, namespace.clone_ref(at));
        }
        Ok(namespace)
    }

    /// The context's own namespace may have changed: what it has let go of is not kept here either.
    pub(crate) fn refresh(&self, at: Attached<'_>) {
        // What fails here fails again, and is told, when a process needs it.
        let _ = self.shared.get().map(|shared| shared.refresh(at));
    }

    /// The process is dead. What nobody else holds of its namespace goes now, what holds itself (a
    /// function holds its globals) when Python next collects garbage.
    pub(crate) fn forget(&self, id: ProcessId) {
        let namespace = self.namespaces.borrow_mut().remove(&id);
        drop(namespace);
    }
}
