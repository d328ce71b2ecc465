//! References that stand for a request that its caller doesn't wait for, and for a process.

use std::sync::{Arc, OnceLock, Weak};

use py_runtime::mailbox::Seq;
use py_runtime::reply_state::Cancel;
use rustler::Resource;

use super::contexts::Context;
use crate::request::call::CallData;
use crate::term::ProcessId;

/// The id of a call whose caller doesn't wait, so that it can be cancelled. It must not keep the
/// call alive, because the call's environment holds the reference to the id.
#[derive(Debug, Default)]
pub(crate) struct RequestId(OnceLock<(Arc<Context>, Seq, Weak<CallData>)>);

impl std::panic::RefUnwindSafe for RequestId {}

#[rustler::resource_impl]
impl Resource for RequestId {}

/// A reference that stands for a process.
#[derive(Debug)]
pub(crate) struct ProcessRef(pub(crate) ProcessId);

#[rustler::resource_impl]
impl Resource for ProcessRef {}

/// What became of cancelling a call by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CancelOutcome {
    /// No message will come.
    Cancelled,
    /// The message is on its way.
    Replying,
    /// The message was sent before.
    Replied,
}

impl RequestId {
    /// Sets the call, once the context has accepted it.
    pub(crate) fn bind(&self, context: &Arc<Context>, seq: Seq, call: Weak<CallData>) {
        // The NIF does this once, before it returns the id.
        let _ = self.0.set((Arc::clone(context), seq, call));
    }

    pub(crate) fn cancel(&self) -> CancelOutcome {
        let Some((context, seq)) = self.open_call() else { return CancelOutcome::Replied };
        match context.cancel(seq) {
            Cancel::Waiting | Cancel::Running => CancelOutcome::Cancelled,
            Cancel::TooLate => CancelOutcome::Replying,
        }
    }

    /// Whether nothing will be sent any more.
    pub(crate) fn is_settled(&self) -> bool {
        self.open_call().is_none()
    }

    fn open_call(&self) -> Option<(&Arc<Context>, Seq)> {
        let (context, seq, call) = self.0.get()?;
        // A call that is gone has sent its message. A call that isn't may be settled all the same:
        // a thread that is stuck in it keeps it, while another thread has answered.
        let is_settled = call.upgrade()?.is_settled();
        (!is_settled).then_some((context, *seq))
    }
}
