//! Contexts with a real Python, without a BEAM. What holds in one mode holds in all that the
//! linked Python supports: every test goes through them.

#![cfg(not(feature = "loom"))]

mod direct;
mod harness;
mod interrupts;
mod jobs;
mod lifecycle;
mod namespaces;
mod releases;
mod replies;
mod stuck;
mod turns;
mod waits;
