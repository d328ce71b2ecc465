//! References that stand for a request that its caller doesn't wait for, and for a process.

use std::sync::{Arc, OnceLock, Weak};

use py_runtime::mailbox::Seq;
use py_runtime::request::Cancel;
use rustler::Resource;

use super::contexts::Context;
use crate::request::call::Inner;
use crate::term::ProcessId;

/// A call that its caller doesn't wait for, so that it can be given up all the same. It must not
/// keep the call alive, whose environment holds the reference to this.
#[derive(Debug, Default)]
pub(crate) struct Ticket(OnceLock<(Arc<Context>, Seq, Weak<Inner>)>);

impl std::panic::RefUnwindSafe for Ticket {}

#[rustler::resource_impl]
impl Resource for Ticket {}

/// A reference that stands for a process.
#[derive(Debug)]
pub(crate) struct Tag(pub(crate) ProcessId);

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
        let is_over = call.upgrade()?.is_over();
        (!is_over).then_some((context, *seq))
    }
}
