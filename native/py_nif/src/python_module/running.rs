//! What the prelude asks about the job that runs on its thread.

use py_runtime::object::{Attached, Object};

use super::exchange::Raised;
use crate::exec::running;
use crate::frame;

/// The globals of the running job, or None; if `likely`, also where its request names none.
pub(super) fn namespace(py: Attached<'_>, likely: bool) -> Object {
    frame::with(|frame| {
        let frame = frame?;
        running::namespace(frame.call, frame.scope)
            .or_else(|| likely.then(|| running::likely_namespace(frame.call, frame.scope)))
    })
    .unwrap_or_else(|| Object::none(py))
}

/// Where the running job has its event loop, or None.
pub(super) fn loop_slot(py: Attached<'_>) -> Result<Object, Raised> {
    frame::with(|frame| match frame {
        Some(frame) => running::loop_slot(frame.call, frame.scope).ok_or(Raised),
        None => Ok(Object::none(py)),
    })
}
