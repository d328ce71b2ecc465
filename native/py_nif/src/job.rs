//! A request as the job of a context's thread: the only file that knows both sides, the one that
//! talks to Erlang and the one that runs Python.

use py_runtime::context::Orphans;
use py_runtime::exception::Exception;
use py_runtime::job::{Job, Outcome, Scope};
use py_runtime::object::{Attached, Object};
use py_runtime::request::RequestState;
use rustler::sys::enif_is_process_alive;

use crate::convert::Remains;
use crate::erlang_module::{self, current_job};
use crate::exec;
use crate::request::call::Call;
use crate::request::decode::Request;
use crate::request::error::{Death, Error};
use crate::request::flags::Flags;
use crate::term::{ProcessId, pid_term, word};
use crate::thread::local::Local;

impl Job for Call {
    type Local = Local;
    /// A process that had a namespace in the context is dead.
    type Notice = ProcessId;
    type Death = Death;

    fn thread_ended() -> Death {
        Death::ThreadEnded
    }

    fn prepare(at: Attached<'_>) -> Result<Local, Exception> {
        #[cfg(feature = "faults")]
        crate::testing::faults::fail_at_start();
        erlang_module::install(at)?;
        Ok(Local::new(erlang_module::classes(at)?, erlang_module::sources(at)?))
    }

    fn preload(
        at: Attached<'_>,
        local: &Local,
        source: &[u8],
        namespace: &Object,
    ) -> Result<(), Exception> {
        local.preload(at, source, namespace)
    }

    fn notice(_: Attached<'_>, local: &Local, dead: ProcessId) {
        local.processes.forget(dead);
    }

    fn state(&self) -> &RequestState {
        Call::state(self)
    }

    fn is_same_caller(&self, other: &Self) -> bool {
        word(pid_term(self.caller())) == word(pid_term(other.caller()))
    }

    fn is_same_work(&self, other: &Self) -> bool {
        let other_env = other.env();
        let (one, other) = (Request::decode(self.elements()), Request::decode(other.elements()));
        one.zip(other).is_some_and(|(one, other)| {
            // SAFETY: the terms of both calls live as long as these, and are only read.
            unsafe { one.is_same_work(self.env(), &other, other_env) }
        })
    }

    fn is_orphan(&self, policy: Orphans) -> bool {
        let caller = self.caller();
        // SAFETY: a native thread has no environment to give; the VM takes that for "elsewhere".
        let alive = unsafe { enif_is_process_alive(std::ptr::null_mut(), &raw const caller) };
        // SAFETY: the elements are terms of our environment.
        alive == 0
            && unsafe { Flags::of(self.env(), self.elements()) }.orphans(policy) == Orphans::Stop
    }

    fn run(&self, scope: &mut Scope<'_, Self>) -> Outcome {
        let scope = &*scope;
        let mut failure = None;
        // Until after the reply: the caller need not wait for large values to be freed.
        let mut remains = Remains::default();
        let sent = self.reply(|env| {
            let result =
                current_job::enter(self, scope, || exec::run(self, scope, env, &mut remains));
            let result = result.unwrap_or_else(|error| {
                let error = self.explain(error);
                // SAFETY: `reply` gives an environment of this thread.
                let term = unsafe { error.to_term(env) };
                failure = Some(error);
                term
            });
            scope.context.note_answered();
            result
        });
        match failure {
            _ if !sent => Outcome::Unwanted,
            None => Outcome::Done,
            Some(Error::Interrupted) => Outcome::Interrupted,
            Some(_) => Outcome::Failed,
        }
    }

    fn abandon(&self, why: &Death) {
        self.reply_error(&Error::ContextDied(why.clone()));
    }

    fn interrupted(&self) {
        self.reply_error(&Error::Interrupted);
    }

    fn panicked(&self) {
        self.reply_error(&Error::Panicked);
    }
}

impl Call {
    /// Says what an exception means that Python can't know.
    fn explain(&self, error: Error) -> Error {
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
