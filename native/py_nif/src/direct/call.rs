//! A call on its caller's scheduler.
//!
//! Arguments are read from the caller's heap and the result is built there: nothing is copied, no
//! thread is woken, no message is sent.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use py_runtime::context::WaitError;
use py_runtime::direct::{DirectEnd, DirectRun, DirectScope};
use py_runtime::exception;
use py_runtime::job::Outcome;
use rustler::sys::{ErlNifEnv, ErlNifPid, ErlNifTerm, enif_consume_timeslice};

use super::permits::{self, Permit, Way};
use super::probation::Measurement;
use crate::convert::DeferredDrop;
use crate::erlang_module::current_job;
use crate::exec::{self, Ran};
use crate::outbound::output::JobOutput;
use crate::request::call::Call;
use crate::request::decode::{Request, RequestTerms};
use crate::request::error::{Error, ExitReason};
use crate::request::flags::{Dispatch, Flags};
use crate::resources::contexts::Context;
use crate::scheduler;
use crate::term::{Calling, ProcessId, atom, atom_pair, tuple};
use crate::thread::host::{CallError, CallbackResult, ErlangCall, JobControl, PendingCall, Unfit};
use crate::thread::job_scope::JobScope;

/// What one percent of a timeslice is, which is about 1 ms.
const TIMESLICE_PERCENT: Duration = Duration::from_micros(10);

/// A request that may run directly.
pub(crate) struct DirectCall<'a> {
    request: RequestTerms<'a>,
    module: ErlNifTerm,
    function: ErlNifTerm,
    /// Whether the call's own option permits it.
    by_option: bool,
}

impl<'a> DirectCall<'a> {
    /// The request as one that may run directly: a call of a function, and nothing that could
    /// have to wait. Whether the function is permitted is looked up later.
    ///
    /// # Safety
    /// `elements` are those of a request, of `env`, which is that of the running NIF call.
    #[inline]
    pub(crate) unsafe fn of(
        env: *mut ErlNifEnv,
        elements: &'a [ErlNifTerm],
        caller: ErlNifPid,
    ) -> Option<Self> {
        // SAFETY: passed on to the caller.
        unsafe {
            let flags = Flags::of(env, elements);
            let dispatch = flags.dispatch();
            if dispatch == Dispatch::Queue || (dispatch == Dispatch::Registered && !permits::any())
            {
                return None;
            }
            if flags.streams() || !scheduler::is_normal() {
                return None;
            }
            let Some(Request::Call { module, function, .. }) = Request::decode(elements) else {
                return None;
            };
            let (module, function) = atom_pair(env, module, function)?;
            let request = RequestTerms { env, elements, caller };
            let by_option = dispatch == Dispatch::Direct;
            Some(DirectCall { request, module, function, by_option })
        }
    }

    /// Runs it in the context, if its function has proved itself and everything is free. The term
    /// is for `py_submit`: a result, `{done, Result}` or `{flush, Result}`.
    ///
    /// # Safety
    /// As for [`of`](Self::of).
    pub(crate) unsafe fn try_run(
        &self,
        context: &Arc<Context>,
        timeout: Option<Duration>,
    ) -> Option<ErlNifTerm> {
        // SAFETY: passed on to the caller.
        let run = |permit: &Permit| unsafe { self.run_permitted(permit, context, timeout) };
        if !self.by_option {
            return permits::with_registered(self.module, self.function, run);
        }
        match permits::with(self.module, self.function, run) {
            Some(result) => result,
            None => {
                permits::permit(self.module, self.function);
                None
            }
        }
    }

    /// # Safety
    /// As for [`of`](Self::of).
    unsafe fn run_permitted(
        &self,
        permit: &Permit,
        context: &Arc<Context>,
        timeout: Option<Duration>,
    ) -> Option<ErlNifTerm> {
        let measures = match permit.way() {
            Way::Direct => false,
            Way::DirectMeasured => true,
            Way::Probation | Way::Queue => return None,
        };
        let measurement = measures.then(Measurement::begin);
        // SAFETY: passed on to the caller.
        let run = unsafe { self.run(context, timeout) }?;
        let (took, limit) = (run.took, context.direct_limit());
        if let Some(why) = run.value.unfit {
            permit.misbehaved(why);
        } else if let Some(measurement) = measurement {
            permit.measured(measurement.end(limit));
        } else if took > limit {
            permit.overran();
        }
        if took >= TIMESLICE_PERCENT {
            let percent = (took.as_nanos() / TIMESLICE_PERCENT.as_nanos()).min(100);
            // SAFETY: the environment is that of the running NIF call.
            unsafe { enif_consume_timeslice(self.request.env, percent as i32) };
        }
        // SAFETY: as above.
        Some(unsafe { self.answer(context, &run) })
    }

    /// # Safety
    /// As for [`of`](Self::of).
    unsafe fn run(
        &self,
        context: &Arc<Context>,
        timeout: Option<Duration>,
    ) -> Option<DirectRun<Done>> {
        // SAFETY: the environment is that of the running NIF call, on this thread.
        let _calling = unsafe { Calling::enter(self.request.env) };
        context.run_direct(timeout, |scope| self.execute(scope))
    }

    fn execute(&self, scope: &DirectScope<'_, Call>) -> Option<(Done, Outcome)> {
        let control = DirectControl::default();
        let job = JobScope {
            py: scope.py,
            namespace: scope.namespace,
            local: scope.local,
            host: scope.context,
            control: &control,
            request: self.request,
        };
        let output = JobOutput::new(Some(ProcessId::new(self.request.caller)));
        let env = self.request.env;
        let mut deferred = DeferredDrop::default();
        // A panic must not reach the VM, which calls this. The hook has written its message.
        let run = || catch_unwind(AssertUnwindSafe(|| exec::run(&job, env, &mut deferred)));
        let ran = current_job::enter(&job, &output, run).unwrap_or_else(|_| {
            exception::clear(job.py);
            Err(Error::Panicked)
        });
        let result = ran.and_then(|ran| match ran {
            Ran::Result(result) => Ok(result),
            // Not where a job can't become a task.
            Ran::Coroutine(_) => Err(Error::Panicked),
        });
        drop(deferred);
        let mut unfit = control.unfit.get();
        if unfit == Some(Unfit::NotImported) {
            return None;
        }
        let has_output = output.has_output();
        if has_output {
            output.flush_all();
            // It has noted before that it would have had to wait for that.
            unfit = unfit.filter(|why| *why != Unfit::Waits).or(Some(Unfit::Output));
        }
        let outcome = if result.is_ok() { Outcome::Done } else { Outcome::Failed };
        Some((Done { result, has_output, unfit }, outcome))
    }

    /// # Safety
    /// As for [`of`](Self::of).
    unsafe fn answer(&self, context: &Context, run: &DirectRun<Done>) -> ErlNifTerm {
        let env = self.request.env;
        let died = || Error::ContextDied(context.exit_reason().unwrap_or(ExitReason::Killed));
        let was_interrupted = |error: &Error| {
            run.end == DirectEnd::Interrupted
                && matches!(error, Error::Python(raised) if raised.class == "KeyboardInterrupt")
        };
        // SAFETY: the environment is that of the running NIF call, on this thread.
        unsafe {
            let result = match (&run.value.result, run.end) {
                (_, DirectEnd::TimedOut) => tuple(env, &[atom(env, "error"), atom(env, "timeout")]),
                (_, DirectEnd::ContextDied) => died().to_term(env),
                (Err(error), _) if was_interrupted(error) => Error::Interrupted.to_term(env),
                (Err(error), _) => error.to_term(env),
                (Ok(result), _) if !run.value.has_output => return *result,
                (Ok(result), _) => *result,
            };
            let tag = if run.value.has_output { "flush" } else { "done" };
            tuple(env, &[atom(env, tag), result])
        }
    }
}

/// What a direct call has come to.
struct Done {
    result: Result<ErlNifTerm, Error>,
    /// It has printed or logged: its caller waits until that has arrived.
    has_output: bool,
    /// It has done what it may not do on a scheduler.
    unfit: Option<Unfit>,
}

/// A direct call, as the code that it runs sees it: it can't wait for anything.
#[derive(Default)]
struct DirectControl {
    unfit: Cell<Option<Unfit>>,
}

impl JobControl for DirectControl {
    fn may_become_task(&self) -> bool {
        false
    }

    fn check_depth(&self, _: u32) -> Result<(), WaitError> {
        Ok(())
    }

    fn start_call(&self, _: ErlangCall<'_>, _: u64) -> Option<Arc<dyn PendingCall>> {
        None
    }

    fn call_erlang(&self, _: ErlangCall<'_>, _: u32) -> Result<CallbackResult, CallError> {
        self.note_unfit(Unfit::Callback);
        Err(CallError::CannotWait)
    }

    fn may_wait(&self) -> bool {
        false
    }

    fn note_unfit(&self, why: Unfit) {
        if self.unfit.get().is_none() {
            self.unfit.set(Some(why));
        }
    }

    fn detached(&self, _: &mut dyn FnMut()) {
        unreachable!("nothing waits that has asked `may_wait`");
    }

    fn is_interrupted(&self) -> bool {
        false
    }

    fn is_stopped(&self) -> bool {
        false
    }

    fn note_raised(&self) {}

    fn send_before_reply(&self, send: &mut dyn FnMut()) {
        send();
    }
}
