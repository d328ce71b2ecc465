//! Namespaces of processes: each process that runs Python in a context has names of its own there.
//!
//! Everything here belongs to one context and runs on its thread, but for the down callback: that
//! runs on a scheduler when a process dies, however it dies, and notifies the thread, which removes
//! the namespace.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use py_runtime::exception::Exception;
use py_runtime::namespace::{Inherited, Private, Release};
use py_runtime::object::{Attached, Object};
use rustler::sys::ErlNifPid;

use super::host::{Host, MonitorProcesses};
use super::loop_slot::LoopSlot;
use crate::term::ProcessId;

/// The namespaces of one context's processes. The table is never borrowed while Python code may
/// run: that may wait for Erlang and have other jobs run meanwhile.
#[derive(Default)]
pub(crate) struct ProcessNamespaces {
    namespaces: RefCell<HashMap<ProcessId, Rc<ProcessNamespace>>>,
    /// Made when the first process needs one: many contexts never do.
    shared: OnceCell<SharedBuiltins>,
}

struct SharedBuiltins {
    inherited: Inherited,
    /// Whether namespaces of processes may refer to objects that the context's own refers to no
    /// more.
    has_lost: Cell<bool>,
    monitor: Box<dyn MonitorProcesses>,
}

/// The namespace and the event loop of a process.
struct ProcessNamespace {
    globals: Object,
    /// Borrowed where no Python code runs.
    namespace: RefCell<Private>,
    event_loop: LoopSlot,
}

impl ProcessNamespace {
    fn new(py: Attached<'_>, shared: &SharedBuiltins) -> Result<Self, Exception> {
        let namespace = Private::new(py, &shared.inherited)?;
        let globals = namespace.dict().clone_ref(py);
        Ok(ProcessNamespace {
            globals,
            namespace: RefCell::new(namespace),
            event_loop: LoopSlot::default(),
        })
    }

    fn update(&self, py: Attached<'_>, shared: &SharedBuiltins) -> Result<(), Exception> {
        let before = self.namespace.borrow_mut().update(py, &shared.inherited)?;
        // Not before the borrow is over.
        drop(before);
        Ok(())
    }
}

impl SharedBuiltins {
    fn new(py: Attached<'_>, host: &dyn Host, own: &Object) -> Result<Self, Exception> {
        let (inherited, monitor) = (Inherited::new(py, own)?, host.process_monitor());
        Ok(SharedBuiltins { inherited, has_lost: Cell::new(false), monitor })
    }

    /// Takes over what has changed in the context's own namespace.
    fn refresh(&self, py: Attached<'_>) -> Result<(), Exception> {
        let before = self.inherited.refresh(py)?;
        if before.has_lost() {
            self.has_lost.set(true);
        }
        Ok(())
    }
}

impl Drop for ProcessNamespaces {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.get() {
            shared.monitor.demonitor(&mut self.namespaces.get_mut().keys().copied());
        }
    }
}

impl ProcessNamespaces {
    /// The namespace of a process, made if it has none, with the names of the context's `own` one
    /// as that is now.
    pub(crate) fn namespace(
        &self,
        py: Attached<'_>,
        host: &dyn Host,
        own: &Object,
        pid: ErlNifPid,
    ) -> Result<Object, Exception> {
        let shared = match self.shared.get() {
            Some(shared) => shared,
            None => {
                let shared = SharedBuiltins::new(py, host, own)?;
                self.shared.get_or_init(|| shared)
            }
        };
        shared.refresh(py)?;
        if let Some(process) = self.find(pid) {
            process.update(py, shared)?;
            return Ok(process.globals.clone_ref(py));
        }
        let process = Rc::new(ProcessNamespace::new(py, shared)?);
        let globals = process.globals.clone_ref(py);
        // The namespace of a process that is dead already lasts for this job only. A death after
        // this line is handled by this thread, so not before the entry is made.
        if shared.monitor.monitor(pid) {
            self.namespaces.borrow_mut().insert(ProcessId::new(pid), process);
        }
        Ok(globals)
    }

    /// The namespace of a process, if it has one.
    pub(crate) fn globals(&self, py: Attached<'_>, pid: ErlNifPid) -> Option<Object> {
        self.find(pid).map(|process| process.globals.clone_ref(py))
    }

    /// Where a process that has a namespace keeps its event loop. `Some(None)`: exception set.
    pub(crate) fn loop_slot(&self, py: Attached<'_>, pid: ErlNifPid) -> Option<Option<Object>> {
        self.find(pid).map(|process| process.event_loop.list(py))
    }

    fn find(&self, pid: ErlNifPid) -> Option<Rc<ProcessNamespace>> {
        self.namespaces.borrow().get(&ProcessId::new(pid)).map(Rc::clone)
    }

    /// The context's own namespace may have changed. Objects that it no longer refers to are
    /// released here, because the namespaces of idle processes would keep them until the next job
    /// of each.
    pub(crate) fn refresh(&self, py: Attached<'_>) {
        let Some(shared) = self.shared.get() else { return };
        // A failure here comes again, and is reported, when a process needs the namespace.
        if shared.refresh(py).is_ok() && shared.has_lost.take() {
            let mut release = Release::new(&shared.inherited);
            for process in self.namespaces.borrow().values() {
                release.from(py, &process.namespace.borrow());
            }
            release.finish(py);
        }
    }

    /// The process is dead. Objects that only its namespace refers to are freed now; cycles (a
    /// function refers to its globals) when Python next collects garbage.
    pub(crate) fn remove(&self, id: ProcessId) {
        let process = self.namespaces.borrow_mut().remove(&id);
        drop(process);
    }
}
