//! Monitors of the processes that have a namespace in a context.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;
use rustler::sys::ErlNifPid;
use rustler::{Env, LocalPid, Monitor, Resource, ResourceArc};

use super::contexts::Context;
use crate::request::call::Notice;
use crate::term::{ProcessId, calling_env};
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

/// The one monitor of all contexts, which lives as long as the VM: OTP 25 can run the destructor of
/// a resource twice whose monitors fire as it ends, and that crashes the VM.
static MONITOR: LazyLock<ResourceArc<ProcessMonitor>> =
    LazyLock::new(|| ResourceArc::new(ProcessMonitor::default()));

/// The contexts in which each monitored process has a namespace. A process whose last context has
/// ended stays in the map, so that it is monitored once.
#[derive(Default)]
struct ProcessMonitor {
    users: Mutex<HashMap<ProcessId, Vec<Weak<Context>>>>,
}

impl ProcessMonitor {
    /// Monitors a process for a context. `false`: it is dead already.
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
        let calling = calling_env();
        // SAFETY: not null, it is that of the running NIF call, which outlives this one.
        let env = (!calling.is_null()).then(|| unsafe { Env::new(&calling, calling) });
        let is_alive = this.monitor(env, &LocalPid::from_c_arg(pid)).is_some();
        if !is_alive {
            // Other contexts may have been added meanwhile.
            this.notify(id);
        }
        is_alive
    }

    fn notify(&self, id: ProcessId) {
        let contexts = self.users.lock().remove(&id);
        for context in contexts.into_iter().flatten().filter_map(|context| context.upgrade()) {
            context.notify(Notice::ProcessDead(id));
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
