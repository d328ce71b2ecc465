//! A request as the job of a context's thread. Only this folder knows both the side that talks to
//! Erlang and the side that runs Python.

mod tasks;

use std::cell::Cell;
use std::os::fd::RawFd;
use std::sync::Arc;

use py_runtime::context::{LoopOptions, LoopWait, OnCallerDown, WaitError};
use py_runtime::exception::{Class, Exception};
use py_runtime::job::{Job, Outcome, Scope};
use py_runtime::mailbox::Seq;
use py_runtime::object::{Attached, Object};
use py_runtime::reply_state::ReplyState;
use rustler::sys::{ErlNifEnv, ErlNifTerm, enif_is_process_alive};

use crate::convert::DeferredDrop;
use crate::direct::probation::Probation;
use crate::erlang_module::{self, current_job};
use crate::exec::{self, Ran};
use crate::outbound::callback::{CallbackMessage, CallingThread, PendingCallback};
use crate::outbound::output::JobOutput;
use crate::request::call::{Call, Notice, ReplyEnv};
use crate::request::decode::{Request, RequestTerms};
use crate::request::error::{Error, ExitReason};
use crate::term::{ProcessId, pid_term, to_bits};
use crate::thread::host::{CallError, CallbackResult, ErlangCall, JobControl, PendingCall, Unfit};
use crate::thread::job_scope::JobScope;
use crate::thread::local::Local;

/// What a cancelled task raises.
const CANCELLED: &str = "asyncio.exceptions.CancelledError";

impl Job for Call {
    type Local = Local;
    type Notice = Notice;
    type ExitReason = ExitReason;

    fn thread_ended() -> ExitReason {
        ExitReason::ThreadEnded
    }

    fn prepare(py: Attached<'_>, options: &LoopOptions) -> Result<Local, Exception> {
        #[cfg(feature = "faults")]
        crate::testing::faults::fail_at_start();
        erlang_module::install(py)?;
        let (classes, sources) = (erlang_module::classes(py)?, erlang_module::sources(py)?);
        Ok(Local::new(classes, sources, options.clone()))
    }

    fn preload(
        py: Attached<'_>,
        local: &Local,
        source: &[u8],
        namespace: &Object,
    ) -> Result<(), Exception> {
        local.preload(py, source, namespace)
    }

    fn notice(scope: &Scope<'_, Self>, notice: Notice) {
        match notice {
            Notice::ProcessDead(dead) => {
                scope.local.processes.remove(dead);
                for number in scope.local.tasks.of_process(dead) {
                    scope.stop_for_dead_caller(number);
                }
            }
            Notice::CallAnswered(number) => tasks::call_answered(scope, number),
        }
    }

    fn has_event_loop(local: &Local) -> bool {
        local.event_loop.get().is_some()
    }

    fn loop_wait(py: Attached<'_>, local: &Local) -> Option<LoopWait> {
        local.event_loop.get().map(|event_loop| event_loop.wait(py))
    }

    fn turn(scope: &Scope<'_, Self>, wait: Option<RawFd>) {
        tasks::turn(scope, wait);
    }

    fn cancel_task(scope: &Scope<'_, Self>, seq: Seq, now: bool) {
        if let Some(event_loop) = scope.local.event_loop.get() {
            scope.local.tasks.cancel(scope.py, event_loop, seq, now);
        }
    }

    fn state(&self) -> &ReplyState {
        Call::state(self)
    }

    fn is_same_caller(&self, other: &Self) -> bool {
        to_bits(pid_term(self.caller())) == to_bits(pid_term(other.caller()))
    }

    fn is_same_work(&self, other: &Self) -> bool {
        let other_env = other.env();
        let (one, other) = (Request::decode(self.elements()), Request::decode(other.elements()));
        one.zip(other).is_some_and(|(one, other)| {
            // SAFETY: the terms of both calls live as long as these, and are only read.
            unsafe { one.is_same_work(self.env(), &other, other_env) }
        })
    }

    fn should_stop_for_dead_caller(&self, policy: OnCallerDown) -> bool {
        let caller = self.caller();
        // SAFETY: a native thread has no environment to give; the VM takes that for "elsewhere".
        let alive = unsafe { enif_is_process_alive(std::ptr::null_mut(), &raw const caller) };
        alive == 0 && self.flags().on_caller_down(policy) == OnCallerDown::Interrupt
    }

    fn run(&self, scope: &mut Scope<'_, Self>) -> Outcome {
        // Until after the reply: the caller need not wait for large values to be freed.
        let mut deferred = DeferredDrop::default();
        let env = self.reply_env();
        let output = JobOutput::new(Some(ProcessId::new(self.caller())));
        let result = self.execute(scope, &output, env.as_ptr(), &mut deferred);
        let result = match result {
            Ok(Ran::Coroutine(coroutine)) => match tasks::start(scope, self, &coroutine, output) {
                Ok(()) => return Outcome::Task,
                Err(error) => Err(error),
            },
            Ok(Ran::Result(result)) => Ok(result),
            Err(error) => Err(error),
        };
        let sent = self.send(scope, env, &result);
        outcome(&result, sent)
    }

    fn reply_context_died(&self, why: &ExitReason) {
        self.reply_error(&Error::ContextDied(why.clone()));
    }

    fn reply_interrupted(&self) {
        self.reply_error(&Error::Interrupted);
    }

    fn reply_panicked(&self) {
        self.reply_error(&Error::Panicked);
    }
}

impl Call {
    /// Does what the request says. On return all output of the job has arrived.
    fn execute(
        &self,
        scope: &Scope<'_, Self>,
        output: &JobOutput,
        env: *mut ErlNifEnv,
        deferred: &mut DeferredDrop,
    ) -> Result<Ran, Error> {
        let running = RunningCall::new(Some(self), scope);
        let probation = Probation::begin(&self.terms(), scope.context.direct_limit());
        let job = running.job_scope(self.terms());
        let result = current_job::enter(&job, output, || exec::run(&job, env, deferred));
        if let Some(probation) = probation {
            let is_coroutine = matches!(result, Ok(Ran::Coroutine(_))).then_some(Unfit::Coroutine);
            let printed = output.has_output().then_some(Unfit::Output);
            probation.end(running.unfit.get().or(is_coroutine).or(printed));
        }
        if !matches!(result, Ok(Ran::Coroutine(_))) {
            flush(scope, output);
        }
        result.map_err(|error| self.refine_error(error))
    }

    /// Replies. `false`: the reply is not wanted any more.
    fn send(
        &self,
        scope: &Scope<'_, Self>,
        env: ReplyEnv<'_>,
        result: &Result<ErlNifTerm, Error>,
    ) -> bool {
        // SAFETY: the environment is this thread's alone, and no scheduler runs a job.
        unsafe {
            let result = match result {
                Ok(result) => *result,
                Err(error) => error.to_term(env.as_ptr()),
            };
            // A caller that has its answer finds the context idle.
            scope.context.note_answered();
            self.reply(env, result)
        }
    }

    /// An exception that was asked for is an interrupt: a job has a `KeyboardInterrupt`, a task a
    /// `CancelledError`.
    fn refine_error(&self, error: Error) -> Error {
        match error {
            Error::Python(e)
                if self.state().was_interrupted()
                    && (e.class == "KeyboardInterrupt"
                        || matches!(&e.class, Class::Other(name) if name == CANCELLED)) =>
            {
                Error::Interrupted
            }
            other => other,
        }
    }
}

/// All output of the job arrives before its reply.
fn flush(scope: &Scope<'_, Call>, output: &JobOutput) {
    if output.has_output() {
        output.flush_all();
        scope.detached(|| output.wait_until_acked());
    }
}

fn outcome(result: &Result<ErlNifTerm, Error>, sent: bool) -> Outcome {
    match result {
        _ if !sent => Outcome::Unwanted,
        Ok(_) => Outcome::Done,
        Err(Error::Interrupted) => Outcome::Interrupted,
        Err(_) => Outcome::Failed,
    }
}

/// A call that runs, as the code that it runs sees it.
struct RunningCall<'a> {
    /// None for code that no call needs any more.
    call: Option<&'a Call>,
    scope: &'a Scope<'a, Call>,
    /// What it has done that it may not do on a scheduler.
    unfit: Cell<Option<Unfit>>,
}

impl<'a> RunningCall<'a> {
    fn new(call: Option<&'a Call>, scope: &'a Scope<'a, Call>) -> Self {
        RunningCall { call, scope, unfit: Cell::new(None) }
    }

    fn job_scope(&'a self, request: RequestTerms<'a>) -> JobScope<'a> {
        let Scope { py, context, namespace, local, .. } = *self.scope;
        JobScope { py, namespace, local, host: context, control: self, request }
    }
}

impl JobControl for RunningCall<'_> {
    fn note_unfit(&self, why: Unfit) {
        if self.unfit.get().is_none() {
            self.unfit.set(Some(why));
        }
    }

    fn may_become_task(&self) -> bool {
        self.scope.may_become_task()
    }

    fn check_depth(&self, limit: u32) -> Result<(), WaitError> {
        self.scope.check_depth(limit)
    }

    fn call_erlang(&self, call: ErlangCall<'_>, limit: u32) -> Result<CallbackResult, CallError> {
        self.note_unfit(Unfit::Callback);
        let thread = CallingThread::Context(Arc::clone(self.scope.context));
        let pending = PendingCallback::start(&CallbackMessage::new(call), thread)
            .ok_or(CallError::NotRunning)?;
        self.scope.wait(&pending, limit).map_err(CallError::Interrupted)?;
        Ok(pending.take_answer().unwrap_or(CallbackResult::Lost))
    }

    fn start_call(&self, call: ErlangCall<'_>, number: u64) -> Option<Arc<dyn PendingCall>> {
        let thread = CallingThread::EventLoop(Arc::clone(self.scope.context), number);
        Some(PendingCallback::start(&CallbackMessage::new(call), thread)?)
    }

    fn detached(&self, work: &mut dyn FnMut()) {
        self.scope.detached(work);
    }

    fn is_interrupted(&self) -> bool {
        self.scope.is_interrupted()
    }

    fn caller_makes_maps(&self) -> bool {
        self.call.is_some_and(Call::caller_makes_maps)
    }

    fn is_stopped(&self) -> bool {
        self.call.is_some_and(|call| {
            let state = call.state();
            state.was_interrupted() || state.is_cancelled() || state.is_replying()
        })
    }

    fn note_raised(&self) {
        self.scope.note_raised();
    }

    fn send_before_reply(&self, send: &mut dyn FnMut()) {
        match self.call {
            Some(call) => call.state().send_before_reply(send),
            None => send(),
        }
    }
}
