//! The NIFs with which Erlang processes answer what Python calls. See `py_callback_worker`.

use rustler::sys::{ErlNifEnv, ErlNifTerm, c_int};
use rustler::{Atom, Encoder, Env, LocalPid, NifResult, ResourceArc, Term};

use super::copying;
use crate::outbound::callback::{self, CallbackRef};
use crate::outbound::callback_names;
use crate::request::flags::Values;

mod atoms {
    rustler::atoms! { ok, elixir, enough }
}

/// `set_callback_names(Names :: [{binary(), erlang | elixir}]) -> ok`: these and no others.
#[rustler::nif]
fn set_callback_names(names: Vec<(String, Atom)>) -> Atom {
    let values = |whose| if whose == atoms::elixir() { Values::Elixir } else { Values::Erlang };
    callback_names::set(names.into_iter().map(|(name, whose)| (name, values(whose))).collect());
    atoms::ok()
}

/// `callback_new_ref() -> CallbackRef | enough`: for one more worker that is to wait for calls.
#[rustler::nif]
fn callback_new_ref(env: Env) -> Term {
    callback::new_ref()
        .map_or_else(|| atoms::enough().encode(env), |reference| reference.encode(env))
}

/// `callback_worker_idle(CallbackRef, Pid) -> ok`: the worker has the reference and waits for a
/// call.
#[rustler::nif]
fn callback_worker_idle(reference: ResourceArc<CallbackRef>, pid: LocalPid) -> Atom {
    callback::worker_idle(reference, *pid.as_c_arg());
    atoms::ok()
}

/// `callback_answer_and_idle(CallbackRef, Answer) -> boolean()`: answers as `callback_answer`,
/// and the calling process is an idle worker before Python can make its next call. `false`: nothing
/// was done, because enough workers are idle or there is nothing to answer.
extern "C" fn callback_answer_and_idle(
    env: *mut ErlNifEnv,
    argc: c_int,
    argv: *const ErlNifTerm,
) -> ErlNifTerm {
    let (name, nif) = (c"callback_answer_and_idle", callback_answer_and_idle);
    // SAFETY: the VM calls this with its two arguments and the calling process's environment.
    unsafe {
        if let Err(moved) = copying::elsewhere(env, name, nif, (argc, argv), *argv.add(1)) {
            return moved;
        }
        copying::body(env, (argc, argv), |env, arguments| match arguments {
            [reference, answer] => {
                let (reference, pid) = (reference.decode()?, *env.pid().as_c_arg());
                Ok(callback::answer_and_idle(reference, pid, *answer).encode(env))
            }
            _ => Err(rustler::Error::BadArg),
        })
    }
}

rustler::codegen_runtime::inventory::submit!(rustler::Nif {
    name: c"callback_answer_and_idle".as_ptr(),
    arity: 2,
    flags: 0,
    raw_func: callback_answer_and_idle,
});

/// `callback_worker_leave(CallbackRef) -> boolean()`: the worker with the reference gets no more
/// calls. `false`: it was not idle, so a call may be on its way to it.
#[rustler::nif]
fn callback_worker_leave(reference: ResourceArc<CallbackRef>) -> bool {
    callback::worker_leaves(&reference)
}

/// `callback_begin(CallbackRef) -> ok`: the calling process is going to run the function.
#[rustler::nif]
fn callback_begin(env: Env, reference: ResourceArc<CallbackRef>) -> NifResult<Atom> {
    let begins = reference.begin(*env.pid().as_c_arg());
    if begins { Ok(atoms::ok()) } else { Err(rustler::Error::BadArg) }
}

/// `callback_answer(CallbackRef, Answer) -> ok`. The first answer counts, and the reference is
/// spent.
extern "C" fn callback_answer(
    env: *mut ErlNifEnv,
    argc: c_int,
    argv: *const ErlNifTerm,
) -> ErlNifTerm {
    let (name, nif) = (c"callback_answer", callback_answer);
    // SAFETY: the VM calls this with its two arguments and the calling process's environment.
    unsafe {
        if let Err(moved) = copying::elsewhere(env, name, nif, (argc, argv), *argv.add(1)) {
            return moved;
        }
        copying::body(env, (argc, argv), |env, arguments| match arguments {
            [reference, answer] => {
                reference.decode::<ResourceArc<CallbackRef>>()?.answer(*answer);
                Ok(atoms::ok().encode(env))
            }
            _ => Err(rustler::Error::BadArg),
        })
    }
}

rustler::codegen_runtime::inventory::submit!(rustler::Nif {
    name: c"callback_answer".as_ptr(),
    arity: 2,
    flags: 0,
    raw_func: callback_answer,
});
