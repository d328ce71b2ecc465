//! Safe wrappers of CPython's C API.
//!
//! Holds what needs nothing but a running Python: objects, exceptions as data, running source text,
//! namespaces. Uses no other folder. Never starts a thread, never waits for one, and knows no jobs.

pub(crate) mod async_exc;
pub mod code;
mod collections;
pub(crate) mod collector;
pub(crate) mod context_variables;
pub mod exception;
pub mod namespace;
pub mod object;
pub(crate) mod read;
pub(crate) mod trace_functions;
pub(crate) mod unbound;
pub mod version;
pub mod view;
