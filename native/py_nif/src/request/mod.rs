//! A request as data: its terms, its flags, its one reply, and everything that can go wrong for
//! its caller.
//!
//! Uses [`crate::term`]. It must never know how a request is run.

pub(crate) mod call;
pub(crate) mod decode;
pub(crate) mod error;
pub(crate) mod flags;
