//! One accepted request: the job that a context thread runs, and its one reply.
//!
//! Made on the caller's scheduler by [`Call::new`], which copies the request's terms into an
//! environment of their own; run on the context thread; answered from there or, when the context
//! dies first, from a native thread backstage. Whoever wins [`ReplyState`] sends.

use std::sync::{Arc, OnceLock, Weak};

use py_runtime::context::OnCallerDown;
use py_runtime::exception::Exception;
use py_runtime::job::{Job, Outcome, Scope};
use py_runtime::mailbox::Seq;
use py_runtime::object::{Attached, Object};
use py_runtime::reply_state::{Cancel, ReplyState};
use rustler::Resource;
use rustler::sys::{
    ErlNifEnv, ErlNifPid, ErlNifTerm, enif_get_local_pid, enif_get_tuple, enif_is_process_alive,
    enif_make_copy, enif_send, enif_whereis_pid,
};

use crate::convert::Remains;
use crate::directory::Context;
use crate::error::{Death, Error};
use crate::exec::{self, Local};
use crate::frame;
use crate::processes::ProcessId;
use crate::request::{Flags, REFERENCE, Request};
use crate::term::{OwnedEnv, atom, first_is, pid_term, tuple, word};

/// What a context's thread is told beside its requests.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A process that has a namespace in the context.
    ProcessDied(ProcessId),
}

/// A request, shared between the mailbox and whoever might have to answer it.
#[derive(Clone, Debug)]
pub(crate) struct Call(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    state: ReplyState,
    caller: ErlNifPid,
    /// See [`crate::request`]. Read-only.
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

/// A call that its caller doesn't wait for, so that it can be given up all the same. It must not
/// keep the call alive, whose environment holds the reference to this.
#[derive(Debug, Default)]
pub(crate) struct Ticket(OnceLock<(Arc<Context>, Seq, Weak<Inner>)>);

impl std::panic::RefUnwindSafe for Ticket {}

#[rustler::resource_impl]
impl Resource for Ticket {}

/// A reference that stands for a process.
#[derive(Debug)]
pub(crate) struct Tag(pub(crate) ErlNifPid);

// SAFETY: a pid is a plain word.
unsafe impl Send for Tag {}
// SAFETY: as above.
unsafe impl Sync for Tag {}

#[rustler::resource_impl]
impl Resource for Tag {}

/// What became of giving up a call by its ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// No message will come.
    Yes,
    /// The message is on its way.
    Sending,
    /// The message was sent before.
    Sent,
}

impl Ticket {
    /// The call has been taken in.
    pub(crate) fn validate(&self, context: &Arc<Context>, seq: Seq, call: Weak<Inner>) {
        // The boundary does this once, before it lets anybody see the ticket.
        let _ = self.0.set((Arc::clone(context), seq, call));
    }

    pub(crate) fn give_up(&self) -> GivenUp {
        let Some((context, seq)) = self.open_call() else { return GivenUp::Sent };
        match context.cancel(seq) {
            Cancel::Waiting | Cancel::Running => GivenUp::Yes,
            Cancel::TooLate => GivenUp::Sending,
        }
    }

    /// Whether nothing will be sent any more.
    pub(crate) fn is_over(&self) -> bool {
        self.open_call().is_none()
    }

    fn open_call(&self) -> Option<(&Arc<Context>, Seq)> {
        let (context, seq, call) = self.0.get()?;
        // A call that is gone has sent its message before it went. One that isn't may be over all the
        // same: its thread keeps it until it comes back, whoever has answered it meanwhile.
        let is_over = call.upgrade()?.state.is_settled();
        (!is_over).then_some((context, *seq))
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
        let env = OwnedEnv::new();
        // SAFETY: the new environment is ours, the caller vouches for the term.
        let request = unsafe { enif_make_copy(env.as_ptr(), request) };
        Call(Arc::new(Inner {
            state: ReplyState::default(),
            caller,
            request,
            answer: Answer::Reply,
            env,
        }))
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
            Call(Arc::new(Inner { state: ReplyState::default(), caller, request, answer, env }))
        }
    }

    /// The process that the request is made for: the caller, unless a pid at the request's end says
    /// that the caller works for another.
    pub(crate) fn principal(&self) -> ErlNifPid {
        let mut pid = std::mem::MaybeUninit::uninit();
        match self.elements().last() {
            // SAFETY: the elements are terms of our environment; for a local pid, `pid` is filled in.
            Some(last) => unsafe {
                if enif_get_local_pid(self.env(), *last, pid.as_mut_ptr()) == 0 {
                    self.caller()
                } else {
                    pid.assume_init()
                }
            },
            None => self.caller(),
        }
    }

    /// The call without keeping it.
    pub(crate) fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.0)
    }

    /// The process that made the request.
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

    /// Sends the result that `build` makes in the way that the caller wants it, unless somebody else has answered or
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
        // SAFETY: the environment is ours alone; a sent message empties it, and it is freed after.
        unsafe {
            if let Some((to, message)) = self.message(env.as_ptr(), result) {
                // A caller that is gone needs no answer.
                enif_send(std::ptr::null_mut(), &raw const to, env.as_ptr(), message);
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

    fn reply_error(&self, error: &Error) -> bool {
        // SAFETY: `reply` gives an environment of this thread.
        self.reply(|env| unsafe { error.to_term(env) })
    }
}

impl Job for Call {
    type Local = Local;
    type Notice = Notice;
    type ExitReason = Death;

    fn thread_ended() -> Death {
        Death::ThreadEnded
    }

    fn prepare(py: Attached<'_>) -> Result<Local, Exception> {
        #[cfg(feature = "faults")]
        assert!(std::env::var_os("PY_FAULT_AT_START").is_none(), "on purpose, by a test");
        Local::new(py)
    }

    fn preload(
        py: Attached<'_>,
        local: &Local,
        source: &[u8],
        namespace: &Object,
    ) -> Result<(), Exception> {
        local.preload(py, source, namespace)
    }

    fn notice(_: Attached<'_>, local: &Local, notice: Notice) {
        match notice {
            Notice::ProcessDied(pid) => local.processes.forget(pid),
        }
    }

    fn state(&self) -> &ReplyState {
        &self.0.state
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

    fn should_stop_for_dead_caller(&self, policy: OnCallerDown) -> bool {
        // SAFETY: a native thread has no environment to give; the VM takes that for "elsewhere".
        let alive =
            unsafe { enif_is_process_alive(std::ptr::null_mut(), &raw const self.0.caller) };
        // SAFETY: the elements are terms of our environment.
        alive == 0
            && unsafe { Flags::of(self.env(), self.elements()) }.orphans(policy)
                == OnCallerDown::Interrupt
    }

    fn run(&self, scope: &mut Scope<'_, Self>) -> Outcome {
        let scope = &*scope;
        let mut failure = None;
        // Until after the reply: the caller need not wait for large values to be freed.
        let mut remains = Remains::default();
        let sent = self.reply(|env| {
            let result = frame::enter(self, scope, || exec::run(self, scope, env, &mut remains));
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

    fn reply_context_died(&self, why: &Death) {
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
    /// Says what an exception means that Python can't know.
    fn explain(&self, error: Error) -> Error {
        match error {
            Error::Python(e)
                if e.class == "KeyboardInterrupt" && self.0.state.was_interrupted() =>
            {
                Error::Interrupted
            }
            other => other,
        }
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
