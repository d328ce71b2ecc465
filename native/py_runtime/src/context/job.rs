//! What a context runs: a unit of work that answers for itself, and what it finds on its thread.
//!
//! This file and the context's own need each other: a job is run with a [`Scope`], which has the context,
//! and a context is one of jobs of some kind.

use std::sync::Arc;

use super::Context;
use super::loop_state::Desk;
use crate::cpython::code;
use crate::cpython::exception::Exception;
use crate::cpython::object::{Attached, Object};
use crate::sync::reply_state::RequestState;

/// A unit of work that answers for itself.
pub trait Job: Clone + Send + Sync + 'static {
    /// What the jobs of one context share on its thread, e.g. cached names. Dropped attached,
    /// before the interpreter ends.
    type Local: 'static;

    /// What the thread is told beside its jobs, ahead of those that wait.
    type Notice: std::fmt::Debug + Send + 'static;

    /// Why a context is gone, as its callers are told.
    type Death: Clone + Send + 'static;

    /// What callers are told when the thread ends on its own, which is a bug of ours.
    fn thread_ended() -> Self::Death;

    /// Makes the thread's `Local`, attached, before the first job.
    fn prepare(at: Attached<'_>) -> Result<Self::Local, Exception>;

    /// Runs a source that the context begins with, attached, in the context's own namespace.
    fn preload(
        at: Attached<'_>,
        local: &Self::Local,
        source: &[u8],
        namespace: &Object,
    ) -> Result<(), Exception> {
        let _ = local;
        code::exec(at, source, "<preload>", namespace)
    }

    /// Takes note, attached, on the context thread. No exception stays set.
    fn notice(at: Attached<'_>, local: &Self::Local, notice: Self::Notice);

    /// Who may still answer.
    fn state(&self) -> &RequestState;

    /// Whether its caller is gone and nobody wants it done all the same; `policy` is for jobs that
    /// don't say. Asked before each job and of long ones now and then, on native threads.
    fn is_orphan(&self, policy: Orphans) -> bool;

    /// Whether both have one caller, which may count on their order.
    fn is_same_caller(&self, other: &Self) -> bool;

    /// Whether both run the same code, as far as that is to be seen from outside.
    fn is_same_work(&self, other: &Self) -> bool;

    /// Does the work, attached, on the context thread, and replies.
    fn run(&self, scope: &mut Scope<'_, Self>) -> Outcome;

    /// Replies that the context is gone, unless somebody has replied. Never on a scheduler.
    fn abandon(&self, why: &Self::Death);

    /// Replies that the job was interrupted, unless somebody has replied. Never on a scheduler.
    fn interrupted(&self);

    /// Replies that the job hit a bug of ours. On the context thread.
    fn panicked(&self);
}

/// What becomes of a job whose caller is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphans {
    /// It doesn't run, or is interrupted.
    Stop,
    /// It runs all the same.
    Finish,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It replied with a result.
    Done,
    /// It replied with an error.
    Failed,
    /// It was interrupted on request, and replied so.
    Interrupted,
    /// Nobody wanted its result any more.
    Unwanted,
}

/// What a running job finds on its thread.
#[allow(missing_debug_implementations, reason = "`Local` needs none")]
pub struct Scope<'a, J: Job> {
    /// Proof of being attached.
    pub at: Attached<'a>,
    /// The context that runs it.
    pub context: &'a Arc<Context<J>>,
    /// The context's own namespace, a `dict`.
    pub namespace: &'a Object,
    /// See [`Job::Local`]. Shared, because a job that waits has others run meanwhile.
    pub local: &'a J::Local,
    /// Where the thread serves from.
    pub(crate) desk: &'a Desk<'a, J::Local>,
}
