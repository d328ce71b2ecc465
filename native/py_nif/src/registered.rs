//! The names of the Erlang functions that Python can call.
//!
//! One Erlang process writes them, all at once; every thread reads a snapshot.

use std::collections::HashMap;
use std::sync::LazyLock;

use arc_swap::ArcSwap;
use rustler::Atom;

use crate::convert::Values;

mod atoms {
    rustler::atoms! { ok, elixir }
}

static NAMES: LazyLock<ArcSwap<HashMap<String, Values>>> = LazyLock::new(Default::default);

/// How the function of that name wants its arguments, if one is registered.
pub(crate) fn values(name: &str) -> Option<Values> {
    NAMES.load().get(name).copied()
}

/// `registered(Names :: [{binary(), erlang | elixir}]) -> ok`: these and no others.
#[rustler::nif(name = "registered")]
fn set(names: Vec<(String, Atom)>) -> Atom {
    let values = |whose| if whose == atoms::elixir() { Values::Elixir } else { Values::Erlang };
    let names = names.into_iter().map(|(name, whose)| (name, values(whose)));
    NAMES.store(names.collect::<HashMap<_, _>>().into());
    atoms::ok()
}
