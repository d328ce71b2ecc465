//! The NIFs about functions whose calls may run on their callers' schedulers.

use rustler::{Atom, Encoder, Env, Term};

use crate::direct::permits::{self, Shown};
use crate::term::from_bits;
use crate::thread::host::Unfit;

mod atoms {
    rustler::atoms! {
        ok, system_limit, probation, direct, revoked, slow, waits, output, callback, coroutine,
    }
}

/// `direct_register(Module, Function) -> ok | system_limit`
#[rustler::nif]
fn direct_register(module: Atom, function: Atom) -> Atom {
    let registered = permits::register(module.as_c_arg(), function.as_c_arg());
    if registered { atoms::ok() } else { atoms::system_limit() }
}

/// `direct_unregister(Module, Function) -> ok`
#[rustler::nif]
fn direct_unregister(module: Atom, function: Atom) -> Atom {
    permits::unregister(module.as_c_arg(), function.as_c_arg());
    atoms::ok()
}

/// `direct_list() -> [{{Module, Function}, probation | direct | {revoked, Why}}]`
#[rustler::nif]
fn direct_list(env: Env) -> Vec<Term> {
    let shown = permits::list().into_iter().map(|((module, function), shown)| {
        // SAFETY: both words are atoms', which are the same in every environment.
        let [module, function] =
            [module, function].map(|word| unsafe { Term::new(env, from_bits(word)) });
        let phase = match shown {
            Shown::Probation => atoms::probation().encode(env),
            Shown::Direct => atoms::direct().encode(env),
            Shown::Revoked(why) => (atoms::revoked(), reason(why)).encode(env),
        };
        ((module, function), phase).encode(env)
    });
    shown.collect()
}

fn reason(why: Unfit) -> Atom {
    match why {
        Unfit::Slow => atoms::slow(),
        // A call that finds no module has done nothing, and revokes nothing.
        Unfit::Waits | Unfit::NotImported => atoms::waits(),
        Unfit::Output => atoms::output(),
        Unfit::Callback => atoms::callback(),
        Unfit::Coroutine => atoms::coroutine(),
    }
}
