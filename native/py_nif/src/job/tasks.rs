//! Requests whose coroutines are tasks of the context's event loop: how they begin, run and end.

use std::any::Any;
use std::os::fd::RawFd;
use std::rc::Rc;

use py_runtime::exception::{self, Exception};
use py_runtime::job::{Job, Scope};
use py_runtime::object::Object;
use rustler::sys::ErlNifPid;

use super::{RunningCall, flush, outcome};
use crate::convert::DeferredDrop;
use crate::erlang_module::{self, current_job};
use crate::exec;
use crate::outbound::output::JobOutput;
use crate::request::call::Call;
use crate::request::decode::RequestTerms;
use crate::request::error::{Error, ExitReason};
use crate::term::{ProcessId, TermEnv};
use crate::thread::host::{JobControl, Output};
use crate::thread::loop_scope::{LoopControl, LoopScope};
use crate::thread::tasks::{Task, TaskCall};

/// A call that is a task.
struct CallTask {
    call: Call,
    output: JobOutput,
}

impl TaskCall for CallTask {
    fn request(&self) -> RequestTerms<'_> {
        self.call.terms()
    }

    fn output(&self) -> &dyn Output {
        &self.output
    }

    fn answer_context_ended(&self) {
        self.call.reply_context_died(&ExitReason::ThreadEnded);
    }
}

/// The context's own process, for which code runs that no call needs any more.
struct OwnerTask {
    pid: ErlNifPid,
    env: TermEnv,
    output: JobOutput,
}

impl TaskCall for OwnerTask {
    fn request(&self) -> RequestTerms<'_> {
        RequestTerms { env: self.env.as_ptr(), elements: &[], caller: self.pid }
    }

    fn output(&self) -> &dyn Output {
        &self.output
    }

    fn answer_context_ended(&self) {}
}

/// Makes the call's coroutine a task.
pub(super) fn start(
    scope: &Scope<'_, Call>,
    call: &Call,
    coroutine: &Object,
    output: JobOutput,
) -> Result<(), Error> {
    let (py, local) = (scope.py, scope.local);
    let refuse = |error: Error, output: &JobOutput| {
        // It hasn't begun, so that nothing of it runs; unclosed, Python would warn of it.
        drop(coroutine.call_method0(py, c"close"));
        exception::clear(py);
        flush(scope, output);
        Err(error)
    };
    let (tasks, max_tasks) = (local.tasks.len(), scope.max_tasks());
    let Some(number) = scope.seq.filter(|_| tasks < max_tasks) else {
        return refuse(Error::TooManyTasks { tasks, max_tasks }, &output);
    };
    let event_loop = match local.event_loop(py) {
        Ok(event_loop) => event_loop,
        Err(error) => return refuse(error.into(), &output),
    };
    let task = Rc::new(CallTask { call: call.clone(), output });
    let known: Rc<dyn TaskCall> = Rc::clone(&task) as _;
    match local.tasks.start(py, event_loop, coroutine, (number, known)) {
        Some(()) => Ok(()),
        None => refuse(Exception::take(py).into(), &task.output),
    }
}

/// Runs the context's event loop once. See [`Job::turn`].
pub(super) fn turn(scope: &Scope<'_, Call>, wait: Option<RawFd>) {
    let (py, local) = (scope.py, scope.local);
    let Some(event_loop) = local.event_loop.get() else { return };
    let control = RunningLoop { scope };
    let names = (scope.namespace, local);
    let running = LoopScope::new(py, names, scope.context, &control);
    current_job::leave(|| running.turn(event_loop, wait));
    for number in local.tasks.end_turn(py, event_loop, scope.context) {
        scope.stop_for_dead_caller(number);
    }
}

/// A call of an Erlang function that code on the event loop awaits is answered.
pub(super) fn call_answered(scope: &Scope<'_, Call>, number: u64) {
    let Some(call) = scope.local.tasks.take_call(number) else { return };
    let control = RunningLoop { scope };
    let names = (scope.namespace, scope.local);
    let running = LoopScope::new(scope.py, names, scope.context, &control);
    current_job::leave(|| running.enter(|| erlang_module::answer_future(scope.py, &call)));
}

/// The event loop while it has a turn.
struct RunningLoop<'a> {
    scope: &'a Scope<'a, Call>,
}

fn call_task(call: &dyn TaskCall) -> Option<&CallTask> {
    let call: &dyn Any = call;
    call.downcast_ref()
}

impl LoopControl for RunningLoop<'_> {
    fn step(&self, task: &Task, work: &mut dyn FnMut()) {
        match call_task(&*task.call) {
            Some(known) => self.scope.step(task.number, &known.call, work),
            None => work(),
        }
    }

    fn finish(&self, running: &LoopScope<'_>, task: &Task, value: Option<Object>) {
        let Some(CallTask { call, output }) = call_task(&*task.call) else { return };
        let (scope, raised) = (self.scope, value.is_none());
        let mut deferred = DeferredDrop::default();
        let env = call.reply_env();
        let control = RunningCall::new(Some(call), scope);
        let job = control.job_scope(call.terms());
        let result = exec::finish(&job, env.as_ptr(), &mut deferred, value);
        let result = result.map_err(|error| call.refine_error(error));
        exception::preserving_exception(running.py, || flush(scope, output));
        running.local.tasks.end(running.py, task, raised);
        scope.end_task(task.number);
        let sent = call.send(scope, env, &result);
        scope.count(outcome(&result, sent));
    }

    fn with_control(&self, call: &dyn TaskCall, work: &mut dyn FnMut(&dyn JobControl)) {
        let call = call_task(call).map(|known| &known.call);
        work(&RunningCall::new(call, self.scope));
    }

    fn owner(&self) -> Rc<dyn TaskCall> {
        // SAFETY: a context's number for its owner is the word of a local pid.
        let pid = unsafe { ProcessId::from_bits(self.scope.context.owner_id() as usize) };
        let output = JobOutput::new(Some(pid));
        Rc::new(OwnerTask { pid: pid.pid(), env: TermEnv::new(), output })
    }
}
