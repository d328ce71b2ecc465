//! Namespaces of processes: each process that runs Python in a context has names of its own there.
//!
//! Everything here belongs to one context and runs on its thread, but for the down callback: that
//! runs on a scheduler when a process dies, however it dies, and tells the thread, which forgets
//! the namespace.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;
use py_runtime::exception::Exception;
use py_runtime::namespace::{Inherited, Private, Release};
use py_runtime::object::{Attached, Object};
use rustler::sys::ErlNifPid;
use rustler::{Env, LocalPid, Monitor, Resource, ResourceArc};

use super::loop_slot::LoopSlot;
use crate::resources::contexts::Context;
use crate::term::ProcessId;

/// The namespaces of one context's processes. The table is never borrowed while Python code may
/// run: that may wait for Erlang and have other jobs run meanwhile.
#[derive(Default)]
pub(crate) struct Processes {
    namespaces: RefCell<HashMap<ProcessId, Rc<Process>>>,
    /// Made when the first process needs one: many contexts never do.
    shared: OnceCell<Shared>,
}

struct Shared {
    inherited: Inherited,
    /// Whether namespaces of processes may refer to what the context's own has lost.
    has_lost: Cell<bool>,
    context: Arc<Context>,
}

/// What a process has in the context.
struct Process {
    globals: Object,
    /// Borrowed where no Python code runs.
    namespace: RefCell<Private>,
    event_loop: LoopSlot,
}

impl Process {
    fn new(at: Attached<'_>, shared: &Shared) -> Result<Self, Exception> {
        let namespace = Private::new(at, &shared.inherited)?;
        let globals = namespace.dict().clone_ref(at);
        Ok(Process { globals, namespace: RefCell::new(namespace), event_loop: LoopSlot::default() })
    }

    fn update(&self, at: Attached<'_>, shared: &Shared) -> Result<(), Exception> {
        let before = self.namespace.borrow_mut().update(at, &shared.inherited)?;
        // Not before the borrow is over.
        drop(before);
        Ok(())
    }
}

impl Shared {
    fn new(at: Attached<'_>, context: &Arc<Context>, own: &Object) -> Result<Self, Exception> {
        let (inherited, context) = (Inherited::new(at, own)?, Arc::clone(context));
        Ok(Shared { inherited, has_lost: Cell::new(false), context })
    }

    /// Looks at the context's own namespace.
    fn refresh(&self, at: Attached<'_>) -> Result<(), Exception> {
        let before = self.inherited.refresh(at)?;
        if before.has_lost() {
            self.has_lost.set(true);
        }
        Ok(())
    }
}

/// Monitors the processes that have a namespace in any context. One for all, which lives as long as
/// the VM: OTP 25 can run the destructor of a resource twice whose monitors fire as it ends, which
/// ends the VM.
static WATCH: LazyLock<ResourceArc<Watch>> = LazyLock::new(|| ResourceArc::new(Watch::default()));

/// The contexts that each process which is monitored has a namespace in. A process that outlives its
/// last one stays, so that it is monitored once.
#[derive(Default)]
struct Watch {
    users: Mutex<HashMap<ProcessId, Vec<Weak<Context>>>>,
}

impl Watch {
    /// Has a context told when the process is dead. `false`: it is already.
    fn add(this: &ResourceArc<Self>, pid: ErlNifPid, context: &Arc<Context>) -> bool {
        let (id, weak) = (ProcessId::new(pid), Arc::downgrade(context));
        {
            let mut users = this.users.lock();
            if let Some(contexts) = users.get_mut(&id) {
                if !contexts.iter().any(|known| known.ptr_eq(&weak)) {
                    contexts.push(weak);
                }
                return true;
            }
            users.insert(id, vec![weak]);
        }
        // Not under the lock, which the down callback takes.
        let is_alive = this.monitor(None, &LocalPid::from_c_arg(pid)).is_some();
        if !is_alive {
            // Others may have come meanwhile.
            this.tell(id);
        }
        is_alive
    }

    fn tell(&self, id: ProcessId) {
        let contexts = self.users.lock().remove(&id);
        for context in contexts.into_iter().flatten().filter_map(|context| context.upgrade()) {
            context.notify(id);
        }
    }

    /// The context has no namespaces any more.
    fn remove(&self, ids: impl Iterator<Item = ProcessId>, context: &Arc<Context>) {
        let mut users = self.users.lock();
        for id in ids {
            if let Some(contexts) = users.get_mut(&id) {
                contexts.retain(|known| known.as_ptr() != Arc::as_ptr(context));
            }
        }
    }
}

#[rustler::resource_impl]
impl Resource for Watch {
    const IMPLEMENTS_DOWN: bool = true;

    fn down<'a>(&'a self, _: Env<'a>, pid: LocalPid, _: Monitor) {
        self.tell(ProcessId::new(*pid.as_c_arg()));
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.get() {
            WATCH.remove(self.namespaces.get_mut().keys().copied(), &shared.context);
        }
    }
}

impl Processes {
    /// The namespace of a process, made if it has none, with the names of the context's `own` one
    /// as that is now.
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
        if let Some(process) = self.find(pid) {
            process.update(at, shared)?;
            return Ok(process.globals.clone_ref(at));
        }
        let process = Rc::new(Process::new(at, shared)?);
        let globals = process.globals.clone_ref(at);
        // A process that is dead already is not told of again: its namespace lasts for this job.
        // The monitor's end is noticed by this thread, so not before the entry is made.
        if Watch::add(&WATCH, pid, &shared.context) {
            self.namespaces.borrow_mut().insert(ProcessId::new(pid), process);
        }
        Ok(globals)
    }

    /// The namespace of a process, if it has one.
    pub(crate) fn globals(&self, at: Attached<'_>, pid: ErlNifPid) -> Option<Object> {
        self.find(pid).map(|process| process.globals.clone_ref(at))
    }

    /// Where a process that has a namespace keeps its event loop. `Some(None)`: exception set.
    pub(crate) fn loop_slot(&self, at: Attached<'_>, pid: ErlNifPid) -> Option<Option<Object>> {
        self.find(pid).map(|process| process.event_loop.list(at))
    }

    fn find(&self, pid: ErlNifPid) -> Option<Rc<Process>> {
        self.namespaces.borrow().get(&ProcessId::new(pid)).map(Rc::clone)
    }

    /// The context's own namespace may have changed. What it no longer refers to is released here,
    /// too: those of processes that are idle would keep it until their next job.
    pub(crate) fn refresh(&self, at: Attached<'_>) {
        let Some(shared) = self.shared.get() else { return };
        // What fails here fails again, and is told, when a process needs it.
        if shared.refresh(at).is_ok() && shared.has_lost.take() {
            let mut release = Release::new(&shared.inherited);
            for process in self.namespaces.borrow().values() {
                release.from(at, &process.namespace.borrow());
            }
            release.finish(at);
        }
    }

    /// The process is dead. What nobody else holds of its namespace goes now, what holds itself (a
    /// function holds its globals) when Python next collects garbage.
    pub(crate) fn forget(&self, id: ProcessId) {
        let process = self.namespaces.borrow_mut().remove(&id);
        drop(process);
    }
}
