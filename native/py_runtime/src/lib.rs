//! CPython contexts on threads of their own.
//!
//! This crate knows CPython and nothing of the BEAM, so that all that is unsafe about CPython is
//! tested by plain `cargo test`. The files follow the data: a job enters a [`mailbox`], a
//! [`context`]'s thread takes it, runs it attached to its [`interpreter`], and the job answers for
//! itself, once, as its [`request`] state allows.

pub mod alarm;
mod arenas;
mod async_exc;
mod backstage;
mod blocks;
pub mod boot;
mod chores;
pub mod code;
pub mod context;
pub mod environment;
mod escape;
pub mod exception;
pub mod export;
mod exports;
mod gil;
mod guard;
pub mod hold;
mod holds;
mod import_locks;
pub mod interpreter;
mod interrupter;
pub mod job;
pub mod lobby;
pub mod mailbox;
pub mod mode;
pub mod namespace;
mod nudge;
pub mod object;
pub mod os_thread;
pub mod request;
mod spare;
mod spin;
mod switch_interval;
mod sync;
mod threads;
pub mod turns;
pub mod version;
pub mod ward;
mod watch;

pub use pyo3_ffi as ffi;
