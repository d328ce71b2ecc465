//! CPython contexts on threads of their own.
//!
//! This crate knows CPython and nothing of the BEAM, so that all that is unsafe about CPython is
//! tested by plain `cargo test`. Its folders are layers; imports point down only:
//!
//! ```text
//! context      jobs, the thread that runs them, what becomes of it
//! interrupt    stopping what runs
//! interpreter  making, entering and ending interpreters
//! boot         starting Python, once
//! gil          who has the shared GIL, and for how long
//! cpython      safe wrappers of the C API (beside it: sync, waiting and waking; alloc, memory)
//! ```
//!
//! A job enters a [`mailbox`], a [`context`]'s thread takes it, runs it attached to its
//! [`interpreter`], and the job answers for itself, once, as its [`reply_state`] allows.

mod alloc;
pub mod boot;
pub mod context;
mod cpython;
mod gil;
pub mod interpreter;
mod interrupt;
mod sync;

pub use boot::environment;
pub use context::{direct, export, handle, job, quarantine};
pub use cpython::{code, exception, namespace, object, version, view};
pub use gil::handoff;
pub use interpreter::mode;
pub use pyo3_ffi as ffi;
pub use sync::{large_stack, mailbox, os_thread, owner_lock, reply_state, wait_queue, wakeup};
