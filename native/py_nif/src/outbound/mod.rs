//! Messages to Erlang's processes: calls of Erlang functions, output, log events; and how many of
//! them are in flight.
//!
//! Implements what [`crate::thread`] needs of them (`processes.rs`), and uses [`crate::resources`]
//! and what is below it. It must never touch Python: answers come on schedulers, and a thread that
//! waits has detached from its interpreter.

pub(crate) mod callback;
pub(crate) mod callback_names;
pub(crate) mod in_flight;
pub(crate) mod log_level;
pub(crate) mod output;
pub(crate) mod processes;
pub(crate) mod services;
