//! References that Erlang holds of ours: contexts, pools, handles on Python objects, namespaces,
//! requests.
//!
//! Implements what [`crate::thread`] and [`crate::convert`] need of a context (`host.rs`), and uses
//! what is below them. Destructors and down callbacks run on schedulers, without the GIL: they must
//! never do more than pass on.

pub(crate) mod contexts;
pub(crate) mod handles;
pub(crate) mod hidden;
pub(crate) mod host;
pub(crate) mod owner;
pub(crate) mod pool;
mod process_monitor;
pub(crate) mod quarantines;
pub(crate) mod request_id;
mod shared_bytes;
