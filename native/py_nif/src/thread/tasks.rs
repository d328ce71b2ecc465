//! The calls of one context whose coroutines are tasks of its event loop.
//!
//! Everything here belongs to one context and runs on its thread, attached. The table is never
//! borrowed while Python code may run.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use py_runtime::object::{Attached, Object};

use super::event_loop::EventLoop;
use super::host::{Host, MonitorProcesses, Output, PendingCall};
use crate::request::decode::RequestTerms;
use crate::term::ProcessId;

/// A call that is a task, as the layer that knows calls keeps it.
pub(crate) trait TaskCall: Any {
    /// What it asks for.
    fn request(&self) -> RequestTerms<'_>;

    /// Where its code prints.
    fn output(&self) -> &dyn Output;

    /// The context ends: answers it, if nobody has.
    fn answer_context_ended(&self);
}

/// A task.
pub(crate) struct Task {
    /// The number of its job.
    pub(crate) number: u64,
    pub(crate) call: Rc<dyn TaskCall>,
    /// asyncio's own.
    object: Object,
}

/// A call of an Erlang function that code on the event loop awaits.
pub(crate) struct AwaitedCall {
    /// asyncio's future of the result.
    pub(crate) future: Object,
    /// The module `erlang` by which it was made.
    pub(crate) module: Object,
    pub(crate) name: String,
    pub(crate) pending: Arc<dyn PendingCall>,
}

/// The tasks of one context.
#[derive(Default)]
pub(crate) struct Tasks {
    by_number: RefCell<HashMap<u64, Rc<Task>>>,
    /// Their callers that are monitored.
    callers: RefCell<BTreeSet<(usize, u64)>>,
    /// Those that have begun since the last turn: most end before their callers need a monitor.
    unmonitored: RefCell<Vec<u64>>,
    /// Tasks that have ended with an exception, which asyncio is not to report.
    raised: RefCell<Vec<Object>>,
    /// What code runs for that no call needs any more.
    owner: OnceCell<Rc<dyn TaskCall>>,
    monitor: OnceCell<Box<dyn MonitorProcesses>>,
    /// Calls of Erlang functions that are awaited.
    awaited: RefCell<HashMap<u64, AwaitedCall>>,
    /// The number of the next one.
    next_call: Cell<u64>,
}

impl Tasks {
    /// A number for a call that is to be awaited.
    pub(crate) fn next_call(&self) -> u64 {
        let number = self.next_call.get();
        self.next_call.set(number + 1);
        number
    }

    /// Keeps a call until it is answered. Its answer is taken up after this job or step.
    pub(crate) fn keep_call(&self, number: u64, call: AwaitedCall) {
        self.awaited.borrow_mut().insert(number, call);
    }

    /// Takes a call that is answered.
    pub(crate) fn take_call(&self, number: u64) -> Option<AwaitedCall> {
        self.awaited.borrow_mut().remove(&number)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_number.borrow().len()
    }

    /// Makes the coroutine a task. `None`: exception set.
    pub(crate) fn start(
        &self,
        py: Attached<'_>,
        event_loop: &EventLoop,
        coroutine: &Object,
        (number, call): (u64, Rc<dyn TaskCall>),
    ) -> Option<()> {
        let object = event_loop.start(py, coroutine, number)?;
        let task = Rc::new(Task { number, call, object });
        self.by_number.borrow_mut().insert(number, task);
        self.unmonitored.borrow_mut().push(number);
        Some(())
    }

    /// The task of this number, unless it has ended.
    pub(crate) fn get(&self, number: u64) -> Option<Rc<Task>> {
        self.by_number.borrow().get(&number).map(Rc::clone)
    }

    /// The task has ended. `raised`: with an exception.
    pub(crate) fn end(&self, py: Attached<'_>, task: &Task, raised: bool) {
        let ended = self.by_number.borrow_mut().remove(&task.number);
        let caller = ProcessId::new(task.call.request().caller).bits();
        self.callers.borrow_mut().remove(&(caller, task.number));
        if raised {
            self.raised.borrow_mut().push(task.object.clone_ref(py));
        }
        drop(ended);
    }

    /// Cancels a task: `now`, and again when its time to clean up is over.
    pub(crate) fn cancel(&self, py: Attached<'_>, event_loop: &EventLoop, number: u64, now: bool) {
        if let Some(task) = self.get(number) {
            event_loop.cancel(py, &task.object, now);
        }
    }

    /// What follows a turn of the loop. Returns the numbers of tasks whose callers are dead.
    pub(crate) fn end_turn(
        &self,
        py: Attached<'_>,
        event_loop: &EventLoop,
        host: &dyn Host,
    ) -> Vec<u64> {
        let raised = self.raised.take();
        raised.iter().for_each(|task| event_loop.retrieve(py, task));
        let begun = self.unmonitored.take();
        begun.into_iter().filter(|number| !self.monitor(host, *number)).collect()
    }

    /// Monitors the caller of a task. `false`: it is dead already.
    fn monitor(&self, host: &dyn Host, number: u64) -> bool {
        let Some(task) = self.get(number) else { return true };
        let pid = task.call.request().caller;
        self.callers.borrow_mut().insert((ProcessId::new(pid).bits(), number));
        self.monitor.get_or_init(|| host.process_monitor()).monitor(pid)
    }

    /// The tasks of a process that is dead.
    pub(crate) fn of_process(&self, dead: ProcessId) -> Vec<u64> {
        let (first, last) = ((dead.bits(), 0), (dead.bits(), u64::MAX));
        self.callers.borrow().range(first..=last).map(|(_, number)| *number).collect()
    }

    /// What code runs for that no call needs any more: the context's own process.
    pub(crate) fn owner(&self, make: impl FnOnce() -> Rc<dyn TaskCall>) -> Rc<dyn TaskCall> {
        Rc::clone(self.owner.get_or_init(make))
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in self.by_number.get_mut().values() {
            task.call.answer_context_ended();
        }
        if let Some(monitor) = self.monitor.get() {
            let callers = self.callers.get_mut().iter();
            // SAFETY: the word is that of a local pid.
            let mut callers = callers.map(|(bits, _)| unsafe { ProcessId::from_bits(*bits) });
            monitor.demonitor(&mut callers);
        }
    }
}
