//! What a context runs: a unit of work that answers for itself, and what it finds on its thread.
//!
//! This file and the context's own need each other: a job is run with a [`Scope`], which has the
//! context, and a context is one of jobs of some kind.

use std::os::fd::RawFd;
use std::sync::Arc;

use super::Context;
use super::event_loop::{LoopOptions, LoopWait};
use super::loop_state::LoopState;
use crate::cpython::code;
use crate::cpython::exception::Exception;
use crate::cpython::object::{Attached, Object};
use crate::sync::mailbox::Seq;
use crate::sync::reply_state::ReplyState;

/// A unit of work that answers for itself.
pub trait Job: Clone + Send + Sync + 'static {
    /// What the jobs of one context share on its thread, e.g. cached names. Dropped attached,
    /// before the interpreter ends.
    type Local: 'static;

    /// A message to the thread beside its jobs, ahead of those that wait.
    type Notice: std::fmt::Debug + Send + 'static;

    /// Why a context is gone, as its callers learn.
    type ExitReason: Clone + std::fmt::Debug + Send + Sync + 'static;

    /// The reason when the thread ends on its own, which is a bug of ours.
    fn thread_ended() -> Self::ExitReason;

    /// Makes the thread's `Local`, attached, before the first job.
    fn prepare(py: Attached<'_>, options: &LoopOptions) -> Result<Self::Local, Exception>;

    /// Runs a source that the context begins with, attached, in the context's own namespace.
    fn preload(
        py: Attached<'_>,
        local: &Self::Local,
        source: &[u8],
        namespace: &Object,
    ) -> Result<(), Exception> {
        let _ = local;
        code::exec(py, source, "<preload>", namespace)
    }

    /// Handles a notice, attached, on the context thread. No exception stays set.
    fn notice(scope: &Scope<'_, Self>, notice: Self::Notice);

    /// Whether the thread has an event loop.
    fn has_event_loop(local: &Self::Local) -> bool {
        let _ = local;
        false
    }

    /// How to wait for the thread's event loop, attached. `None`: it has none.
    fn loop_wait(py: Attached<'_>, local: &Self::Local) -> Option<LoopWait> {
        let _ = (py, local);
        None
    }

    /// Runs the event loop once, attached, on the context thread. No exception stays set. With
    /// `wait` one that waits [by itself](LoopWait::InLoop) does so, until that is readable.
    fn turn(scope: &Scope<'_, Self>, wait: Option<RawFd>) {
        let _ = (scope, wait);
    }

    /// Cancels the task of this number, attached, on the context thread: `now`, and again when its
    /// time to clean up is over. No exception stays set.
    fn cancel_task(scope: &Scope<'_, Self>, seq: Seq, now: bool) {
        let _ = (scope, seq, now);
    }

    /// Which thread may still reply.
    fn state(&self) -> &ReplyState;

    /// Whether its caller is gone and the job is to stop for that; `policy` applies to jobs without
    /// a setting of their own. Called before each job and for long ones now and then, on native
    /// threads.
    fn should_stop_for_dead_caller(&self, policy: OnCallerDown) -> bool;

    /// Whether both have one caller, which may rely on their order.
    fn is_same_caller(&self, other: &Self) -> bool;

    /// Whether both run the same code, as far as that can be seen from outside.
    fn is_same_work(&self, other: &Self) -> bool;

    /// Does the work, attached, on the context thread, and replies.
    fn run(&self, scope: &mut Scope<'_, Self>) -> Outcome;

    /// Replies that the context is gone, unless the job has been answered. Never on a scheduler.
    fn reply_context_died(&self, why: &Self::ExitReason);

    /// Replies that the job was interrupted, unless it has been answered. Never on a scheduler.
    fn reply_interrupted(&self);

    /// Replies that the job met a bug of ours. On the context thread.
    fn reply_panicked(&self);
}

/// What becomes of a job whose caller is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCallerDown {
    /// It doesn't run, or is interrupted.
    Interrupt,
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
    /// Its caller didn't want the result any more.
    Unwanted,
    /// It has not ended but become a task, which will reply.
    Task,
}

/// What a running job finds on its thread.
#[allow(missing_debug_implementations, reason = "`Local` needs none")]
pub struct Scope<'a, J: Job> {
    /// Proof of being attached.
    pub py: Attached<'a>,
    /// The context that runs it.
    pub context: &'a Arc<Context<J>>,
    /// The context's own namespace, a `dict`.
    pub namespace: &'a Object,
    /// See [`Job::Local`]. Shared, because other jobs run while one waits.
    pub local: &'a J::Local,
    /// The number of the job that runs, if one does.
    pub seq: Option<Seq>,
    /// The state of the thread's loop.
    pub(crate) loop_state: &'a LoopState<'a, J::Local>,
}
