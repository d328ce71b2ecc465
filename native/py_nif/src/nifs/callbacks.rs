//! The NIFs with which Erlang processes answer what Python calls. See `py_callback`.

use rustler::sys::{ErlNifEnv, ErlNifTerm, c_int};
use rustler::{Atom, Encoder, Env, LocalPid, NifResult, ResourceArc, Term};

use super::copying;
use crate::outbound::callback::{self, Ticket};
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
    callback::new_ticket().map_or_else(|| atoms::enough().encode(env), |ticket| ticket.encode(env))
}

/// `callback_stand_by(Ticket, Pid) -> ok`: the process has the ticket and waits for a call.
#[rustler::nif]
fn callback_stand_by(ticket: ResourceArc<Ticket>, pid: LocalPid) -> Atom {
    callback::stand_by(ticket, *pid.as_c_arg());
    atoms::ok()
}

/// `callback_answer_and_stand_by(Ticket, Answer) -> boolean()`: answers as `callback_answer`, and the
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
                [ticket, answer] => {
                    let (ticket, pid) = (ticket.decode()?, *env.pid().as_c_arg());
                    Ok(callback::answer_and_stand_by(ticket, pid, *answer).encode(env))
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

/// `callback_retire(Ticket) -> boolean()`: whoever has the ticket doesn't stand by any more, and another
/// may. `false`: it didn't, so a call may be on its way.
#[rustler::nif]
fn callback_retire(ticket: ResourceArc<Ticket>) -> bool {
    callback::retire(&ticket)
}

/// `callback_begin(Ticket) -> ok`: the calling process is going to run the function.
#[rustler::nif]
fn callback_begin(env: Env, ticket: ResourceArc<Ticket>) -> NifResult<Atom> {
    let begins = ticket.begin(*env.pid().as_c_arg());
    if begins { Ok(atoms::ok()) } else { Err(rustler::Error::BadArg) }
}

/// `callback_answer(Ticket, Answer) -> ok`; the first one counts, and the ticket is void.
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
                [ticket, answer] => {
                    ticket.decode::<ResourceArc<Ticket>>()?.answer(*answer);
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
