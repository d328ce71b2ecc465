//! A request as the job of a context's thread. The only file that knows both the side that talks to
//! Erlang and the side that runs Python.

use std::cell::Cell;
use std::sync::Arc;

use py_runtime::context::{OnCallerDown, WaitError};
use py_runtime::exception::Exception;
use py_runtime::job::{Job, Outcome, Scope};
use py_runtime::object::{Attached, Object};
use py_runtime::reply_state::ReplyState;
use rustler::sys::{ErlNifEnv, ErlNifTerm, enif_is_process_alive};

use crate::convert::DeferredDrop;
use crate::direct::probation::Probation;
use crate::erlang_module::{self, current_job};
use crate::exec;
use crate::outbound::callback::{CallbackMessage, CallingThread, PendingCallback};
use crate::outbound::output::JobOutput;
use crate::request::call::{Call, ReplyEnv};
use crate::request::decode::Request;
use crate::request::error::{Error, ExitReason};
use crate::term::{ProcessId, pid_term, to_bits};
use crate::thread::host::{CallError, CallbackResult, ErlangCall, JobControl, Unfit};
use crate::thread::job_scope::JobScope;
use crate::thread::local::Local;

impl Job for Call {
    type Local = Local;
    /// A process that had a namespace in the context is dead.
    type Notice = ProcessId;
    type ExitReason = ExitReason;

    fn thread_ended() -> ExitReason {
        ExitReason::ThreadEnded
    }

    fn prepare(py: Attached<'_>) -> Result<Local, Exception> {
        #[cfg(feature = "faults")]
        crate::testing::faults::fail_at_start();
        erlang_module::install(py)?;
        Ok(Local::new(erlang_module::classes(py)?, erlang_module::sources(py)?))
    }

    fn preload(
        py: Attached<'_>,
        local: &Local,
        source: &[u8],
        namespace: &Object,
    ) -> Result<(), Exception> {
        local.preload(py, source, namespace)
    }

    fn notice(_: Attached<'_>, local: &Local, dead: ProcessId) {
        local.processes.remove(dead);
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
        let result = self.execute(scope, env.as_ptr(), &mut deferred);
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
        env: *mut ErlNifEnv,
        deferred: &mut DeferredDrop,
    ) -> Result<ErlNifTerm, Error> {
        let running = RunningCall { call: self, scope, unfit: Cell::new(None) };
        let probation = Probation::begin(&self.terms(), scope.context.direct_limit());
        let job = JobScope {
            py: scope.py,
            namespace: scope.namespace,
            local: scope.local,
            host: scope.context,
            control: &running,
            request: self.terms(),
        };
        let output = JobOutput::new(Some(ProcessId::new(self.caller())));
        let result = current_job::enter(&job, &output, || exec::run(&job, env, deferred));
        if let Some(probation) = probation {
            let printed = output.has_output().then_some(Unfit::Output);
            probation.end(running.unfit.get().or(printed));
        }
        if output.has_output() {
            output.flush_all();
            scope.detached(|| output.wait_until_acked());
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

    /// A `KeyboardInterrupt` that was asked for is an interrupt.
    fn refine_error(&self, error: Error) -> Error {
        match error {
            Error::Python(e)
                if e.class == "KeyboardInterrupt" && self.state().was_interrupted() =>
            {
                Error::Interrupted
            }
            other => other,
        }
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
    call: &'a Call,
    scope: &'a Scope<'a, Call>,
    /// What it has done that it may not do on a scheduler.
    unfit: Cell<Option<Unfit>>,
}

impl JobControl for RunningCall<'_> {
    fn note_unfit(&self, why: Unfit) {
        if self.unfit.get().is_none() {
            self.unfit.set(Some(why));
        }
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

    fn detached(&self, work: &mut dyn FnMut()) {
        self.scope.detached(work);
    }

    fn is_interrupted(&self) -> bool {
        self.scope.is_interrupted()
    }

    fn is_stopped(&self) -> bool {
        let state = self.call.state();
        state.was_interrupted() || state.is_cancelled() || state.is_replying()
    }

    fn note_raised(&self) {
        self.scope.note_raised();
    }

    fn send_before_reply(&self, send: &mut dyn FnMut()) {
        self.call.state().send_before_reply(send);
    }
}
