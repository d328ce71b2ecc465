//! What a context's thread keeps between jobs: names, compiled code, namespaces of processes, its
//! event loop; and what it needs of the layers above, as traits (`host.rs`).
//!
//! Uses [`crate::convert`] and what is below it. What is kept belongs to one thread, and is used
//! and dropped attached. Nothing but the code cache may be borrowed while Python code runs
//! (compiling can warn); nested jobs do without the cache then.

pub(crate) mod code_cache;
pub(crate) mod event_loop;
pub(crate) mod host;
pub(crate) mod job_scope;
pub(crate) mod local;
pub(crate) mod loop_scope;
pub(crate) mod loop_slot;
pub(crate) mod name_cache;
pub(crate) mod process_namespaces;
mod source_lines;
pub(crate) mod source_places;
pub(crate) mod step;
pub(crate) mod tasks;
