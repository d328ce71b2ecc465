//! One accepted request: the job that a context thread runs, and its one reply.
//!
//! Made on the caller's scheduler by [`Call::new`], which copies the request's terms into an
//! environment of their own; run on the context thread; answered from there or, when the context
//! dies first, from a native thread backstage. Whoever wins [`RequestState`] sends.

use std::sync::{Arc, Weak};

use py_runtime::request::RequestState;
use rustler::sys::{ErlNifEnv, ErlNifPid, ErlNifTerm, enif_make_copy, enif_whereis_pid};

use super::decode::REFERENCE;
use super::error::Error;
use crate::term::{OwnedEnv, atom, elements, first_is, local_pid, pid_term, tuple};

/// A request, shared between the mailbox and whoever might have to answer it.
#[derive(Clone, Debug)]
pub(crate) struct Call(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    state: RequestState,
    caller: ErlNifPid,
    /// See [`crate::request::decode`]. Read-only.
    request: ErlNifTerm,
    answer: Answer,
    /// Holds `request`. Not used for the reply: what came with a large request need not travel
    /// back with a small answer.
    env: OwnedEnv,
}

/// What becomes of the result. Terms are of the call's own environment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// `{Ref, Result}` to the caller, with the request's `Ref`: it waits.
    Reply,
    /// `{py_result, Ref, Result}` to the caller: it does something else meanwhile.
    Message(ErlNifTerm),
    /// Nothing; `{py_cast, Caller, Request, Error}` if it is an error, to the process that is registered
    /// under this name when the call ends: another one than when it began, or none.
    Report(ErlNifTerm),
}

impl Inner {
    /// Whether nothing will be sent any more.
    pub(crate) fn is_over(&self) -> bool {
        self.state.is_over()
    }
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
        // SAFETY: passed on to the caller.
        unsafe { Self::answered_by(caller, request, Answer::Reply) }
    }

    /// As `new`, with another answer, whose term is copied too.
    ///
    /// # Safety
    /// As for `new`.
    pub(crate) unsafe fn answered_by(
        caller: ErlNifPid,
        request: ErlNifTerm,
        answer: Answer,
    ) -> Self {
        let env = OwnedEnv::new();
        // SAFETY: the new environment is ours, the caller vouches for the terms.
        unsafe {
            let request = enif_make_copy(env.as_ptr(), request);
            let answer = match answer {
                Answer::Message(ticket) => Answer::Message(enif_make_copy(env.as_ptr(), ticket)),
                other => other,
            };
            Call(Arc::new(Inner { state: RequestState::default(), caller, request, answer, env }))
        }
    }

    /// The process that the request is made for: the caller, unless a pid at the request's end says
    /// that the caller works for another.
    pub(crate) fn principal(&self) -> ErlNifPid {
        // SAFETY: the elements are terms of our environment.
        let named = self.elements().last().and_then(|last| unsafe { local_pid(self.env(), *last) });
        named.unwrap_or(self.caller())
    }

    /// The call without keeping it.
    pub(crate) fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.0)
    }

    /// Who may still answer.
    pub(crate) fn state(&self) -> &RequestState {
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

    /// The request's elements, see [`crate::request::decode`].
    pub(crate) fn elements(&self) -> &[ErlNifTerm] {
        // SAFETY: the term belongs to the environment, which lives as long as `self` and whose
        // terms don't move.
        unsafe { elements(self.env(), self.0.request) }
    }

    /// Sends the result that `build` makes in the way that the caller wants it, unless somebody else has answered or
    /// nobody waits any more. Consumes the right to answer; `false`: there was none.
    ///
    /// The result is made before the right is claimed: a caller whose time runs out during a long
    /// conversion doesn't have to wait for its end.
    ///
    /// Not on a scheduler: there `enif_send` needs the calling process.
    pub(crate) fn reply(&self, build: impl FnOnce(*mut ErlNifEnv) -> ErlNifTerm) -> bool {
        let env = OwnedEnv::new();
        let result = build(env.as_ptr());
        if !self.0.state.claim_reply() {
            return false;
        }
        // SAFETY: the environment is ours alone.
        unsafe {
            if let Some((to, message)) = self.message(env.as_ptr(), result) {
                // A caller that is gone needs no answer.
                env.send(to, message);
            }
        }
        self.0.state.replied();
        true
    }

    /// Whom to send what.
    ///
    /// # Safety
    /// `env` belongs to the current thread, and `result` to it.
    unsafe fn message(
        &self,
        env: *mut ErlNifEnv,
        result: ErlNifTerm,
    ) -> Option<(ErlNifPid, ErlNifTerm)> {
        let caller = self.0.caller;
        // SAFETY: passed on to the caller; the call's own terms are read-only.
        unsafe {
            match self.0.answer {
                Answer::Reply => {
                    let reference = enif_make_copy(env, *self.elements().get(REFERENCE)?);
                    Some((caller, tuple(env, &[reference, result])))
                }
                Answer::Message(ticket) => {
                    let ticket = enif_make_copy(env, ticket);
                    Some((caller, tuple(env, &[atom(env, "py_result"), ticket, result])))
                }
                Answer::Report(name) => {
                    if !first_is(env, result, "error") {
                        return None;
                    }
                    let to = registered(name)?;
                    let request = enif_make_copy(env, self.0.request);
                    let report = [atom(env, "py_cast"), pid_term(caller), request, result];
                    Some((to, tuple(env, &report)))
                }
            }
        }
    }

    pub(crate) fn reply_error(&self, error: &Error) -> bool {
        // SAFETY: `reply` gives an environment of this thread.
        self.reply(|env| unsafe { error.to_term(env) })
    }
}

/// The process of this name.
///
/// Not on a scheduler: there `enif_whereis_pid` needs the calling process.
///
/// # Safety
/// `name` is an atom.
unsafe fn registered(name: ErlNifTerm) -> Option<ErlNifPid> {
    let mut pid = std::mem::MaybeUninit::<ErlNifPid>::uninit();
    // SAFETY: the caller vouches for the name; the pid is filled in where the answer isn't 0.
    unsafe {
        (enif_whereis_pid(std::ptr::null_mut(), name, pid.as_mut_ptr()) != 0)
            .then(|| pid.assume_init())
    }
}
