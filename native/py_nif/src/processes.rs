//! Namespaces of processes: each process that runs Python in a context has names of its own there.
//!
//! Everything here belongs to one context and runs on its thread, but for the down callback: that
//! runs on a scheduler when a process dies, however it dies, and tells the thread, which forgets
//! the namespace.

use std::collections::HashMap;
use std::sync::Arc;

use py_runtime::exception::Exception;
use py_runtime::namespace::Backdrop;
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

/// The namespaces of one context's processes.
#[derive(Default)]
pub(crate) struct Processes {
    namespaces: HashMap<ProcessId, Object>,
    /// Made when the first process needs one: many contexts never do.
    shared: Option<Shared>,
}

struct Shared {
    backdrop: Backdrop,
    watch: ResourceArc<Watch>,
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
        &mut self,
        at: Attached<'_>,
        context: &Arc<Context>,
        own: &Object,
        pid: ErlNifPid,
    ) -> Result<Object, Exception> {
        let shared = match &mut self.shared {
            Some(shared) => {
                shared.backdrop.refresh(at)?;
                shared
            }
            none => none.insert(Shared {
                backdrop: Backdrop::new(at, own)?,
                watch: ResourceArc::new(Watch { context: Arc::clone(context) }),
            }),
        };
        let id = ProcessId::of(pid);
        if let Some(namespace) = self.namespaces.get(&id) {
            return Ok(namespace.clone_ref(at));
        }
        let namespace = shared.backdrop.new_namespace(at)?;
        // A process that is dead already is not told of again: its namespace lasts for this job.
        // The monitor's end is noticed by this thread, so not before the entry is made.
        if shared.watch.monitor(None, &LocalPid::from_c_arg(pid)).is_some() {
            self.namespaces.insert(id, namespace.clone_ref(at));
        }
        Ok(namespace)
    }

    /// The context's own namespace may have changed: what it has let go of is not kept here either.
    pub(crate) fn refresh(&mut self, at: Attached<'_>) {
        if let Some(shared) = &mut self.shared {
            // What fails here fails again, and is told, when a process needs it.
            let _ = shared.backdrop.refresh(at);
        }
    }

    /// The process is dead; its namespace, for the caller to drop. What nobody else holds of it goes
    /// then, what holds itself (a function holds its globals) when Python next collects garbage.
    pub(crate) fn forget(&mut self, id: ProcessId) -> Option<Object> {
        self.namespaces.remove(&id)
    }
}
