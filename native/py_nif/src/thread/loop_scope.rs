//! The thread while it runs the event loop: whose code runs, and what that finds.
//!
//! A turn runs code for many calls, one step after the other. Which call a step is for is known by
//! a context variable, which asyncio copies to whatever the call's code starts. Once a call is
//! over, what goes on of it (callbacks of connections, background tasks) runs for the context's own
//! process.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::rc::Rc;

use py_runtime::ffi;
use py_runtime::object::{Attached, Object};

use super::event_loop::EventLoop;
use super::host::{Host, JobControl, Output};
use super::job_scope::JobScope;
use super::local::Local;
use super::step::{self, StepEnd, Steps};
use super::tasks::{Task, TaskCall};

/// The thread while it runs the event loop.
pub(crate) struct LoopScope<'a> {
    pub(crate) py: Attached<'a>,
    /// The context's own namespace, a `dict`.
    pub(crate) namespace: &'a Object,
    pub(crate) local: &'a Local,
    pub(crate) host: &'a dyn Host,
    pub(crate) control: &'a dyn LoopControl,
    interpreter: *mut ffi::PyInterpreterState,
}

/// What the loop needs of the side that knows calls.
pub(crate) trait LoopControl {
    /// Runs `work` as a step of the task.
    fn step(&self, task: &Task, work: &mut dyn FnMut());

    /// The task's coroutine has ended: with the value, or with the exception that is set and stays
    /// set.
    fn finish(&self, scope: &LoopScope<'_>, task: &Task, value: Option<Object>);

    /// Gives `work` the control of the call's code.
    fn with_control(&self, call: &dyn TaskCall, work: &mut dyn FnMut(&dyn JobControl));

    /// What code runs for whose call is over.
    fn owner(&self) -> Rc<dyn TaskCall>;
}

thread_local! {
    static CURRENT: Cell<*const LoopScope<'static>> = const { Cell::new(std::ptr::null()) };
}

/// Puts back what was there, also after a panic.
struct Restore(*const LoopScope<'static>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

impl<'a> LoopScope<'a> {
    pub(crate) fn new(
        py: Attached<'a>,
        (namespace, local): (&'a Object, &'a Local),
        host: &'a dyn Host,
        control: &'a dyn LoopControl,
    ) -> Self {
        LoopScope { py, namespace, local, host, control, interpreter: py.interpreter() }
    }

    /// Runs a turn of the loop. See [`EventLoop::turn`].
    pub(crate) fn turn(&self, event_loop: &EventLoop, wait: Option<RawFd>) {
        self.enter(|| step::enter(self, || event_loop.turn(self.py, wait)));
    }

    /// Runs `work` as code of the loop that no call needs any more.
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _restore = Restore(CURRENT.replace(std::ptr::from_ref(self).cast()));
        work()
    }

    /// The task whose code runs, unless its call is over.
    fn task(&self) -> Option<Rc<Task>> {
        let event_loop = self.local.event_loop.get()?;
        self.local.tasks.get(event_loop.running_call(self.py)?)
    }

    /// Gives `work` the job whose code runs, and its output.
    pub(crate) fn with_job(&self, work: &mut dyn FnMut(&JobScope<'_>, &dyn Output)) {
        let call = match self.task() {
            Some(task) => Rc::clone(&task.call),
            None => self.local.tasks.owner(|| self.control.owner()),
        };
        self.control.with_control(&*call, &mut |control| {
            let &LoopScope { py, namespace, local, host, .. } = self;
            let request = call.request();
            work(&JobScope { py, namespace, local, host, control, request }, call.output());
        });
    }
}

impl Steps for LoopScope<'_> {
    fn step(&self, number: Option<u64>, work: &mut dyn FnMut() -> StepEnd) {
        let task = match number {
            Some(number) => self.local.tasks.get(number),
            None => self.task(),
        };
        let Some(task) = task else {
            work();
            return;
        };
        self.control.step(&task, &mut || match work() {
            StepEnd::Returned(value) if number.is_some() => {
                self.control.finish(self, &task, Some(value));
            }
            StepEnd::Raised if number.is_some() => self.control.finish(self, &task, None),
            _ => (),
        });
    }
}

/// Gives `work` the scope of the loop that runs on this thread, which is attached to its
/// interpreter. `None`: none does.
pub(crate) fn with<T>(work: impl FnOnce(Option<&LoopScope<'_>>) -> T) -> T {
    // SAFETY: the scope is further down this thread's stack, where it stays until `turn` returns,
    // and there are only shared references to it.
    let scope = unsafe { CURRENT.get().as_ref() };
    // SAFETY: the caller says that the thread is attached.
    let here = || unsafe { Attached::assume() }.interpreter();
    work(scope.filter(|scope| scope.interpreter == here()))
}
