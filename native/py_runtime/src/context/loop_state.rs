//! The state of a context's thread while it serves.

use std::cell::{Cell, RefCell};

use crate::cpython::object::Object;
use crate::interpreter::Interpreter;
use crate::sync::adaptive_spin::AdaptiveSpin;

/// What the thread's loop needs, and what is known of the jobs on the thread. A job that waits runs
/// the loop too.
#[allow(missing_debug_implementations, reason = "`Local` needs none")]
pub(crate) struct LoopState<'a, L> {
    pub(super) interpreter: &'a Interpreter,
    pub(super) namespace: &'a Object,
    pub(super) local: &'a L,
    pub(super) spin: RefCell<AdaptiveSpin>,
    /// How many jobs wait, each nested in the one before.
    pub(super) nesting: Cell<u32>,
    /// Whether what runs is a finalizer nested in a job that waits.
    pub(super) in_finalizer: Cell<bool>,
    /// Whether a job was interrupted, and what it may have left behind is still to be repaired.
    pub(super) needs_repair: Cell<bool>,
}
