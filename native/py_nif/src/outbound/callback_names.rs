//! The names of the Erlang functions that Python can call.
//!
//! One Erlang process writes them, all at once; every thread reads a snapshot.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::request::flags::Values;
use arc_swap::ArcSwap;

static NAMES: LazyLock<ArcSwap<HashMap<String, Values>>> = LazyLock::new(Default::default);

/// How the function of that name wants its arguments, if one is registered.
pub(crate) fn values(name: &str) -> Option<Values> {
    NAMES.load().get(name).copied()
}

/// Registers these names and no others.
pub(crate) fn set(names: HashMap<String, Values>) {
    NAMES.store(names.into());
}
