//! The state of a context's thread while it serves.

use std::cell::{Cell, RefCell};

use crate::cpython::object::Object;
use crate::interpreter::Interpreter;
use crate::sync::adaptive_spin::Spin;

/// What a context's thread has at hand while it serves. A job that waits serves from it too.
#[allow(missing_debug_implementations, reason = "`Local` needs none")]
pub(crate) struct Desk<'a, L> {
    pub(super) interpreter: &'a Interpreter,
    pub(super) namespace: &'a Object,
    pub(super) local: &'a L,
    pub(super) spin: RefCell<Spin>,
    /// How many jobs wait, each on top of the one before.
    pub(super) waiting: Cell<u32>,
    /// Whether what runs is a finalizer on top of a job that waits.
    pub(super) releasing: Cell<bool>,
    /// Whether a job was struck, and what it may have left behind is still to be mended.
    pub(super) struck: Cell<bool>,
}
