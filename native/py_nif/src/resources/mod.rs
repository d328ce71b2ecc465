//! References that Erlang holds of ours: contexts, pools, handles on Python objects, namespaces,
//! requests.
//!
//! Uses [`crate::request`] and [`crate::term`]. Destructors and down callbacks run on schedulers,
//! without the GIL: they must never do more than pass on.

pub(crate) mod contexts;
pub(crate) mod handles;
pub(crate) mod hidden;
pub(crate) mod owner;
pub(crate) mod pool;
pub(crate) mod quarantines;
pub(crate) mod request_id;
pub(crate) mod shared_bytes;
