//! The NIFs with which Erlang processes answer what Python calls. See `py_callback`.

use rustler::sys::{ErlNifEnv, ErlNifTerm, c_int};
use rustler::{Atom, Encoder, Env, LocalPid, NifResult, ResourceArc, Term};

use super::copying;
use crate::outbound::callback::{self, CallbackRef};
use crate::outbound::callback_names;
use crate::request::flags::Values;

mod atoms {
    rustler::atoms! { ok, elixir, enough }
}

/// `registered(Names :: [{binary(), erlang | elixir}]) -> ok`: these and no others.
#[rustler::nif]
fn registered(names: Vec<(String, Atom)>) -> Atom {
    let values = |whose| if whose == atoms::elixir() { Values::Elixir } else { Values::Erlang };
    callback_names::set(names.into_iter().map(|(name, whose)| (name, values(whose))).collect());
    atoms::ok()
}

/// `callback_ticket() -> Ticket | enough`: for a process that is to stand by, if there are too few.
#[rustler::nif]
fn callback_ticket(env: Env) -> Term {
    callback::new_ref()
        .map_or_else(|| atoms::enough().encode(env), |reference| reference.encode(env))
}

/// `callback_stand_by(Ticket, Pid) -> ok`: the process has the reference and waits for a call.
#[rustler::nif]
fn callback_stand_by(reference: ResourceArc<CallbackRef>, pid: LocalPid) -> Atom {
    callback::worker_idle(reference, *pid.as_c_arg());
    atoms::ok()
}

/// `callback_answer_and_stand_by(Ticket, CallbackResult) -> boolean()`: answers as `callback_answer`, and the
/// calling process waits for its next call, before Python can make that. `false`: nothing was done,
/// because enough stand by or there is nothing to answer.
extern "C" fn callback_answer_and_stand_by(
    env: *mut ErlNifEnv,
    argc: c_int,
    argv: *const ErlNifTerm,
) -> ErlNifTerm {
    let (name, nif) = (c"callback_answer_and_stand_by", callback_answer_and_stand_by);
    // SAFETY: the VM calls this with its two arguments and the calling process's environment.
    unsafe {
        copying::elsewhere(env, name, nif, (argc, argv), *argv.add(1)).unwrap_or_else(|| {
            copying::body(env, (argc, argv), |env, arguments| match arguments {
                [reference, answer] => {
                    let (reference, pid) = (reference.decode()?, *env.pid().as_c_arg());
                    Ok(callback::answer_and_idle(reference, pid, *answer).encode(env))
                }
                _ => Err(rustler::Error::BadArg),
            })
        })
    }
}

rustler::codegen_runtime::inventory::submit!(rustler::Nif {
    name: c"callback_answer_and_stand_by".as_ptr(),
    arity: 2,
    flags: 0,
    raw_func: callback_answer_and_stand_by,
});

/// `callback_retire(Ticket) -> boolean()`: whoever has the reference doesn't stand by any more, and another
/// may. `false`: it didn't, so a call may be on its way.
#[rustler::nif]
fn callback_retire(reference: ResourceArc<CallbackRef>) -> bool {
    callback::worker_leaves(&reference)
}

/// `callback_begin(Ticket) -> ok`: the calling process is going to run the function.
#[rustler::nif]
fn callback_begin(env: Env, reference: ResourceArc<CallbackRef>) -> NifResult<Atom> {
    let begins = reference.begin(*env.pid().as_c_arg());
    if begins { Ok(atoms::ok()) } else { Err(rustler::Error::BadArg) }
}

/// `callback_answer(Ticket, CallbackResult) -> ok`; the first one counts, and the reference is void.
extern "C" fn callback_answer(
    env: *mut ErlNifEnv,
    argc: c_int,
    argv: *const ErlNifTerm,
) -> ErlNifTerm {
    let (name, nif) = (c"callback_answer", callback_answer);
    // SAFETY: the VM calls this with its two arguments and the calling process's environment.
    unsafe {
        copying::elsewhere(env, name, nif, (argc, argv), *argv.add(1)).unwrap_or_else(|| {
            copying::body(env, (argc, argv), |env, arguments| match arguments {
                [reference, answer] => {
                    reference.decode::<ResourceArc<CallbackRef>>()?.answer(*answer);
                    Ok(atoms::ok().encode(env))
                }
                _ => Err(rustler::Error::BadArg),
            })
        })
    }
}

rustler::codegen_runtime::inventory::submit!(rustler::Nif {
    name: c"callback_answer".as_ptr(),
    arity: 2,
    flags: 0,
    raw_func: callback_answer,
});
