//! One accepted request: the job that a context thread runs, and its one reply.
//!
//! Made on the caller's scheduler by [`Call::new`], which copies the request's terms into an
//! environment of their own; run on the context thread; answered from there or, when the context
//! dies first, from a native thread backstage. Whoever wins [`RequestState`] sends.

use std::sync::Arc;

use py_runtime::context::Orphans;
use py_runtime::exception::Exception;
use py_runtime::job::{Job, Outcome, Scope};
use py_runtime::mode::Mode;
use py_runtime::object::Attached;
use py_runtime::request::RequestState;
use rustler::sys::{
    ErlNifEnv, ErlNifPid, ErlNifTerm, enif_get_tuple, enif_is_process_alive, enif_make_copy,
    enif_send,
};

use crate::error::{Death, Error};
use crate::exec::{self, Local};
use crate::frame;
use crate::request::{Flags, REFERENCE};
use crate::term::{OwnedEnv, tuple};

/// A request, shared between the mailbox and whoever might have to answer it.
#[derive(Clone, Debug)]
pub(crate) struct Call(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: RequestState,
    caller: ErlNifPid,
    /// See [`crate::request`]. Read-only; the caller knows the reply by `Ref`.
    request: ErlNifTerm,
    /// Holds `request`. Not used for the reply: what came with a large request need not travel
    /// back with a small answer.
    env: OwnedEnv,
}

// SAFETY: a pid is a plain word.
unsafe impl Send for Inner {}
// SAFETY: as above; the environment is only read once the call is made.
unsafe impl Sync for Inner {}

impl Call {
    /// Copies the request out of the caller's heap.
    ///
    /// # Safety
    /// `request` is a valid term of the NIF call that runs on this thread.
    pub(crate) unsafe fn new(caller: ErlNifPid, request: ErlNifTerm) -> Self {
        let env = OwnedEnv::new();
        // SAFETY: the new environment is ours, the caller vouches for the term.
        let request = unsafe { enif_make_copy(env.as_ptr(), request) };
        Call(Arc::new(Inner { state: RequestState::default(), caller, request, env }))
    }

    /// The process that waits for the reply.
    pub(crate) fn caller(&self) -> ErlNifPid {
        self.0.caller
    }

    /// The environment of the request's terms.
    pub(crate) fn env(&self) -> *mut ErlNifEnv {
        self.0.env.as_ptr()
    }

    /// The request's elements, see [`crate::request`].
    pub(crate) fn elements(&self) -> &[ErlNifTerm] {
        let (mut arity, mut elements) = (0, std::ptr::null());
        // SAFETY: the term belongs to the environment, which lives as long as `self` and whose
        // terms don't move; a non-tuple is refused by the boundary.
        unsafe {
            if enif_get_tuple(self.env(), self.0.request, &raw mut arity, &raw mut elements) == 0 {
                return &[];
            }
            std::slice::from_raw_parts(elements, usize::try_from(arity).unwrap_or(0))
        }
    }

    /// Sends `{Ref, Result}` with the result made by `build`, unless somebody else has answered or
    /// nobody waits any more. Consumes the right to answer; `false`: there was none.
    ///
    /// The result is made before the right is claimed: a caller whose time runs out during a long
    /// conversion doesn't have to wait for its end.
    ///
    /// Not on a scheduler: there `enif_send` needs the calling process.
    fn reply(&self, build: impl FnOnce(*mut ErlNifEnv) -> ErlNifTerm) -> bool {
        let env = OwnedEnv::new();
        let result = build(env.as_ptr());
        if !self.0.state.claim_reply() {
            return false;
        }
        let Some(reference) = self.elements().get(REFERENCE) else { return false };
        // SAFETY: the environment is ours alone; a sent message empties it, and it is freed after.
        unsafe {
            let reference = enif_make_copy(env.as_ptr(), *reference);
            let message = tuple(env.as_ptr(), &[reference, result]);
            // A caller that is gone needs no answer.
            enif_send(std::ptr::null_mut(), &raw const self.0.caller, env.as_ptr(), message);
        }
        true
    }

    fn reply_error(&self, error: &Error) -> bool {
        // SAFETY: `reply` gives an environment of this thread.
        self.reply(|env| unsafe { error.to_term(env) })
    }
}

impl Job for Call {
    type Local = Local;
    type Death = Death;

    fn thread_ended() -> Death {
        Death::ThreadEnded
    }

    fn prepare(at: Attached<'_>) -> Result<Local, Exception> {
        Local::new(at)
    }

    fn state(&self) -> &RequestState {
        &self.0.state
    }

    fn is_orphan(&self, policy: Orphans) -> bool {
        // SAFETY: a native thread has no environment to give; the VM takes that for "elsewhere".
        let alive =
            unsafe { enif_is_process_alive(std::ptr::null_mut(), &raw const self.0.caller) };
        // SAFETY: the elements are terms of our environment.
        alive == 0
            && unsafe { Flags::of(self.env(), self.elements()) }.orphans(policy) == Orphans::Stop
    }

    fn run(&self, scope: &mut Scope<'_, Self>) -> Outcome {
        let scope = &*scope;
        let mut failure = None;
        let sent = self.reply(|env| {
            let result = frame::enter(self, scope, || exec::run(self, scope, env));
            result.unwrap_or_else(|error| {
                let error = self.explain(error, scope.context.mode());
                // SAFETY: `reply` gives an environment of this thread.
                let term = unsafe { error.to_term(env) };
                failure = Some(error);
                term
            })
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

    fn panicked(&self) {
        self.reply_error(&Error::Panicked);
    }
}

impl Call {
    /// Says more about an exception than Python can know.
    fn explain(&self, error: Error, mode: Mode) -> Error {
        match error {
            Error::Python(e)
                if e.class == "KeyboardInterrupt" && self.0.state.was_interrupted() =>
            {
                Error::Interrupted
            }
            Error::Python(e) if mode != Mode::Worker && refuses_interpreter(&e) => {
                let message = e.message + WORKER_HINT;
                Error::Python(Exception { message, ..e })
            }
            other => other,
        }
    }
}

const WORKER_HINT: &str = "\n(An extension module that refuses sub-interpreters works in a worker \
    context: start a pool of mode worker and route the module to it with \
    py_context_router:register_pool/2.)";

/// Whether this is how an extension module, or CPython for it, refuses a second interpreter.
fn refuses_interpreter(exception: &Exception) -> bool {
    matches!(exception.class.as_str(), "ImportError" | "ModuleNotFoundError")
        && ["subinterpreter", "sub-interpreter", "more than once per process"]
            .iter()
            .any(|words| exception.message.contains(words))
}
