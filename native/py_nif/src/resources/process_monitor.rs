//! Monitors of processes that contexts keep something for.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;
use rustler::sys::ErlNifPid;
use rustler::{Env, LocalPid, Monitor, Resource, ResourceArc};

use super::contexts::Context;
use crate::term::ProcessId;
use crate::thread::host::MonitorProcesses;

/// What a context monitors.
pub(crate) struct ContextMonitor(pub(crate) Arc<Context>);

impl MonitorProcesses for ContextMonitor {
    fn monitor(&self, pid: ErlNifPid) -> bool {
        ProcessMonitor::add(&MONITOR, pid, &self.0)
    }

    fn demonitor(&self, processes: &mut dyn Iterator<Item = ProcessId>) {
        MONITOR.remove(processes, &self.0);
    }
}

/// Monitors the processes that have a namespace in any context. One for all, which lives as long as
/// the VM: OTP 25 can run the destructor of a resource twice whose monitors fire as it ends, which
/// ends the VM.
static MONITOR: LazyLock<ResourceArc<ProcessMonitor>> =
    LazyLock::new(|| ResourceArc::new(ProcessMonitor::default()));

/// The contexts that each process which is monitored has a namespace in. A process that outlives its
/// last one stays, so that it is monitored once.
#[derive(Default)]
struct ProcessMonitor {
    users: Mutex<HashMap<ProcessId, Vec<Weak<Context>>>>,
}

impl ProcessMonitor {
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
            this.notify(id);
        }
        is_alive
    }

    fn notify(&self, id: ProcessId) {
        let contexts = self.users.lock().remove(&id);
        for context in contexts.into_iter().flatten().filter_map(|context| context.upgrade()) {
            context.notify(id);
        }
    }

    /// The context has no namespaces any more.
    fn remove(&self, ids: &mut dyn Iterator<Item = ProcessId>, context: &Arc<Context>) {
        let mut users = self.users.lock();
        for id in ids {
            if let Some(contexts) = users.get_mut(&id) {
                contexts.retain(|known| known.as_ptr() != Arc::as_ptr(context));
            }
        }
    }
}

#[rustler::resource_impl]
impl Resource for ProcessMonitor {
    const IMPLEMENTS_DOWN: bool = true;

    fn down<'a>(&'a self, _: Env<'a>, pid: LocalPid, _: Monitor) {
        self.notify(ProcessId::new(*pid.as_c_arg()));
    }
}
