//! Stopping Python code that runs, from other threads.
//!
//! Holds who raises interrupts, again until what runs has stopped, and what is put right after one.
//! Uses the interpreter and what is below it; of contexts it knows a trait. Never waits on a thread
//! that has asked for an interrupt.

pub(crate) mod interrupter;
pub(crate) mod lock_recovery;
