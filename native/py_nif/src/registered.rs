//! The names of the Erlang functions that Python can call.
//!
//! One Erlang process writes them, all at once; every thread reads a snapshot.

use std::collections::HashSet;
use std::sync::LazyLock;

use arc_swap::ArcSwap;
use rustler::Atom;

mod atoms {
    rustler::atoms! { ok }
}

static NAMES: LazyLock<ArcSwap<HashSet<String>>> = LazyLock::new(Default::default);

/// Whether a function of that name is registered.
pub(crate) fn contains(name: &str) -> bool {
    NAMES.load().contains(name)
}

/// `registered(Names :: [binary()]) -> ok`: these and no others.
#[rustler::nif(name = "registered")]
fn set(names: Vec<String>) -> Atom {
    NAMES.store(names.into_iter().collect::<HashSet<_>>().into());
    atoms::ok()
}
