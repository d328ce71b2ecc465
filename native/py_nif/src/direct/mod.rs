//! Direct dispatch: a call that runs on its caller's scheduler, because its function is known to be
//! short.
//!
//! Holds the functions for which that is permitted ([`permits`]), how one proves itself in the
//! queue ([`probation`]), and the call ([`call`]). Uses what `job` uses: both bring the side
//! that talks to Erlang and the side that runs Python together. It never waits, and whatever it
//! can't take goes to the queue as if it had not been tried.

pub(crate) mod call;
pub(crate) mod permits;
pub(crate) mod probation;
