//! One accepted request: the job that a context thread runs, and its one reply.
//!
//! Made on the caller's scheduler by [`Call::new`], which copies the request's terms into an
//! environment of their own; run on the context thread; answered from there or, when the context
//! dies first, from a native background thread. The one that wins [`ReplyState`] sends.

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use py_runtime::reply_state::ReplyState;
use rustler::sys::{ErlNifEnv, ErlNifPid, ErlNifTerm, enif_make_copy};

use super::decode::{REFERENCE, RequestTerms};
use super::error::Error;
use super::flags::Flags;
use crate::term::{
    EnvPool, ProcessId, TermEnv, atom, elements, is_tagged, pid_term, registered, tuple,
};

/// A message to a context's thread, beside requests.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notice {
    /// A process that had a namespace or a task in the context is dead.
    ProcessDead(ProcessId),
    /// A call of an Erlang function by the event loop's code is answered.
    CallAnswered(u64),
}

/// A request, shared by the mailbox and the threads that may have to answer it.
#[derive(Clone, Debug)]
pub(crate) struct Call(Arc<CallData>);

#[derive(Debug)]
pub(crate) struct CallData {
    state: ReplyState,
    caller: ErlNifPid,
    flags: Flags,
    /// See [`crate::request::decode`]. Read-only.
    request: ErlNifTerm,
    mode: ReplyMode,
    /// Holds `request`, until the drop.
    env: ManuallyDrop<TermEnv>,
    /// Whether the reply is made in `env`, too. Not that of a large request, because what came with
    /// it would travel back with a small answer.
    replies_in_env: bool,
    /// Whether `env` has been sent, so that the terms are the receiver's.
    is_env_sent: AtomicBool,
    /// See [`Call::let_caller_make_maps`].
    caller_makes_maps: AtomicBool,
    /// Where `env` comes from and goes back to.
    envs: &'static EnvPool,
}

/// What becomes of the result. Terms are of the call's own environment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ReplyMode {
    /// `{Ref, Result}` to the caller, with the request's `Ref`: it waits.
    Sync,
    /// `{py_result, Ref, Result}` to the caller: it does something else meanwhile.
    Message(ErlNifTerm),
    /// Nothing; `{py_cast, Caller, Request, Error}` if it is an error, to the process that is
    /// registered under this name when the call ends: another one than when it began, or none.
    ErrorsTo(ErlNifTerm),
}

impl Drop for CallData {
    fn drop(&mut self) {
        // SAFETY: taken once, here.
        self.envs.give_back(unsafe { ManuallyDrop::take(&mut self.env) });
    }
}

impl CallData {
    /// Whether nothing will be sent any more.
    pub(crate) fn is_settled(&self) -> bool {
        self.state.is_settled()
    }
}

// SAFETY: a pid is a plain word.
unsafe impl Send for CallData {}
// SAFETY: as above. Once the call is made, only the thread that runs the job adds terms to the
// environment; those of the request stay as they are until the reply is sent. Other threads read
// them only if they have claimed the reply, so that the job's thread doesn't send it.
unsafe impl Sync for CallData {}

/// Where the result of a call is made.
#[derive(Debug)]
pub(crate) enum ReplyEnv<'a> {
    /// In the environment of the request.
    OfRequest(&'a TermEnv),
    /// In one of its own.
    New(TermEnv),
}

impl ReplyEnv<'_> {
    pub(crate) fn as_ptr(&self) -> *mut ErlNifEnv {
        match self {
            ReplyEnv::OfRequest(env) => env.as_ptr(),
            ReplyEnv::New(env) => env.as_ptr(),
        }
    }
}

impl Call {
    /// Copies the request out of the caller's heap, into an environment of `envs`. With `is_small`
    /// its terms may travel back with the reply.
    ///
    /// # Safety
    /// `request` is a valid term of the NIF call that runs on this thread.
    pub(crate) unsafe fn new(
        caller: ErlNifPid,
        request: ErlNifTerm,
        is_small: bool,
        envs: &'static EnvPool,
    ) -> Self {
        // SAFETY: passed on to the caller.
        unsafe { Self::with_reply_mode(caller, request, ReplyMode::Sync, is_small, envs) }
    }

    /// As `new`, with a mode of reply whose term is copied too.
    ///
    /// # Safety
    /// As for `new`.
    pub(crate) unsafe fn with_reply_mode(
        caller: ErlNifPid,
        request: ErlNifTerm,
        mode: ReplyMode,
        is_small: bool,
        envs: &'static EnvPool,
    ) -> Self {
        let env = envs.take();
        // SAFETY: the new environment is ours, the caller vouches for the terms.
        unsafe {
            let request = enif_make_copy(env.as_ptr(), request);
            let mode = match mode {
                ReplyMode::Message(id) => ReplyMode::Message(enif_make_copy(env.as_ptr(), id)),
                other => other,
            };
            Call(Arc::new(CallData {
                state: ReplyState::default(),
                caller,
                flags: Flags::of(env.as_ptr(), elements(env.as_ptr(), request)),
                request,
                mode,
                env: ManuallyDrop::new(env),
                replies_in_env: is_small,
                is_env_sent: AtomicBool::new(false),
                caller_makes_maps: AtomicBool::new(false),
                envs,
            }))
        }
    }

    /// The request's terms.
    pub(crate) fn terms(&self) -> RequestTerms<'_> {
        RequestTerms { env: self.env(), elements: self.elements(), caller: self.caller() }
    }

    /// A reference that doesn't keep the call alive.
    pub(crate) fn downgrade(&self) -> Weak<CallData> {
        Arc::downgrade(&self.0)
    }

    /// Who may still answer.
    pub(crate) fn state(&self) -> &ReplyState {
        &self.0.state
    }

    /// The process that made the request.
    pub(crate) fn caller(&self) -> ErlNifPid {
        self.0.caller
    }

    /// The environment of the request's terms.
    pub(crate) fn env(&self) -> *mut ErlNifEnv {
        self.0.env.as_ptr()
    }

    /// What the caller wants beyond the result. Any thread, at any time.
    pub(crate) fn flags(&self) -> Flags {
        self.0.flags
    }

    /// The caller is `py_submit`: a result that is a large dict may come as `{pairs, List}`. Before
    /// the call is submitted.
    pub(crate) fn let_caller_make_maps(&self) {
        self.0.caller_makes_maps.store(true, Ordering::Relaxed);
    }

    /// Whether a result may come as pairs.
    pub(crate) fn caller_makes_maps(&self) -> bool {
        self.0.caller_makes_maps.load(Ordering::Relaxed)
    }

    /// The request's elements, see [`crate::request::decode`]; none once the reply has been sent.
    /// For the thread that runs the job, or has claimed its reply.
    pub(crate) fn elements(&self) -> &[ErlNifTerm] {
        if self.0.is_env_sent.load(Ordering::Relaxed) {
            return &[];
        }
        // SAFETY: the term belongs to the environment, which lives as long as `self` and whose
        // terms don't move.
        unsafe { elements(self.env(), self.0.request) }
    }

    /// Where the result is to be made. For the thread that runs the job.
    pub(crate) fn reply_env(&self) -> ReplyEnv<'_> {
        if self.0.replies_in_env {
            ReplyEnv::OfRequest(&self.0.env)
        } else {
            ReplyEnv::New(TermEnv::new())
        }
    }

    /// Sends the result in the way that the caller wants it, unless somebody else has answered or
    /// nobody waits any more. `false`: it was not sent.
    ///
    /// The result is made before the state changes: a caller whose time runs out during a long
    /// conversion doesn't have to wait for its end.
    ///
    /// # Safety
    /// `result` is a term of `env`, and this is no scheduler's thread: there `enif_send` needs the
    /// calling process.
    #[inline(never)] // bin/instructions counts it.
    pub(crate) unsafe fn reply(&self, env: ReplyEnv<'_>, result: ErlNifTerm) -> bool {
        if !self.0.state.claim_reply() {
            return false;
        }
        // SAFETY: passed on to the caller. Of the request's terms no thread reads any from here on:
        // this one has claimed the reply, and runs the job.
        unsafe {
            if let Some((to, message)) = self.message(env.as_ptr(), result) {
                // A caller that is gone needs no answer.
                match env {
                    ReplyEnv::OfRequest(env) => {
                        self.0.is_env_sent.store(true, Ordering::Relaxed);
                        env.send_terms(to, message);
                    }
                    ReplyEnv::New(env) => {
                        env.send(to, message);
                    }
                }
            }
        }
        self.0.state.replied();
        true
    }

    /// The receiver of the reply, and the message.
    ///
    /// # Safety
    /// `env` belongs to the current thread, and `result` to it.
    unsafe fn message(
        &self,
        env: *mut ErlNifEnv,
        result: ErlNifTerm,
    ) -> Option<(ErlNifPid, ErlNifTerm)> {
        let caller = self.0.caller;
        let in_env = |term| match env == self.env() {
            true => term,
            // SAFETY: the call's own terms are read-only.
            false => unsafe { enif_make_copy(env, term) },
        };
        // SAFETY: passed on to the caller.
        unsafe {
            match self.0.mode {
                ReplyMode::Sync => {
                    let reference = in_env(*self.elements().get(REFERENCE)?);
                    Some((caller, tuple(env, &[reference, result])))
                }
                ReplyMode::Message(id) => {
                    let id = in_env(id);
                    Some((caller, tuple(env, &[atom(env, "py_result"), id, result])))
                }
                ReplyMode::ErrorsTo(name) => {
                    if !is_tagged(env, result, "error") {
                        return None;
                    }
                    let to = registered(name)?;
                    let request = in_env(self.0.request);
                    let report = [atom(env, "py_cast"), pid_term(caller), request, result];
                    Some((to, tuple(env, &report)))
                }
            }
        }
    }

    /// As [`reply`](Self::reply), with an error.
    pub(crate) fn reply_error(&self, error: &Error) {
        let env = TermEnv::new();
        // SAFETY: the environment is ours alone. This is never called on a scheduler.
        unsafe {
            let result = error.to_term(env.as_ptr());
            self.reply(ReplyEnv::New(env), result);
        }
    }
}
