//! What a context's thread keeps between jobs: names, compiled code, namespaces of processes, its
//! event loop; and what it needs of the layers above, as traits (`host.rs`).
//!
//! Uses [`crate::convert`] and what is below it. What is kept belongs to one thread, is used and
//! dropped attached, and must never be borrowed while Python code may run.

pub(crate) mod code_cache;
pub(crate) mod event_loop;
pub(crate) mod host;
pub(crate) mod job_scope;
pub(crate) mod local;
pub(crate) mod loop_slot;
pub(crate) mod name_cache;
pub(crate) mod process_namespaces;
mod source_lines;
pub(crate) mod source_places;
