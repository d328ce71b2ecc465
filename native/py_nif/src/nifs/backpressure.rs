//! The NIFs with which a caller waits for room in a full queue. See `py_overload`.

use py_runtime::context::Room;
use rustler::sys::{ErlNifEnv, ErlNifTerm, c_int, enif_make_uint64};
use rustler::{Atom, Encoder, Env, LocalPid, Term};

use super::copying;
use super::requests::submit_by;
use crate::resources::contexts::{self, Context};
use crate::term::{OwnedEnv, ProcessId, Saved, atom, tuple};

mod atoms {
    rustler::atoms! { ok, refuse, room, wait }
}

/// `submit_admitted(Ctx, Request) -> Seq | {error, Reason}`: by a caller that was told of room.
extern "C" fn submit_admitted(
    env: *mut ErlNifEnv,
    argc: c_int,
    argv: *const ErlNifTerm,
) -> ErlNifTerm {
    let nif = submit_admitted;
    // SAFETY: the VM calls this with its two arguments and the calling process's environment.
    unsafe {
        let moved = copying::elsewhere(env, c"submit_admitted", nif, (argc, argv), *argv.add(1));
        moved.unwrap_or_else(|| {
            submit_by(env, argv, Context::submit_admitted, |seq| enif_make_uint64(env, seq))
        })
    }
}

rustler::codegen_runtime::inventory::submit!(rustler::Nif {
    name: c"submit_admitted".as_ptr(),
    arity: 2,
    flags: 0,
    raw_func: submit_admitted,
});

/// `await_room(Ctx, Ref, Ticket) -> refuse | room | {wait, Ticket, Ms}`; after the last `{Ref, room}`
/// is sent to the caller, once, unless `give_up_room/2` comes first. `Ticket` is 0 at first.
#[rustler::nif]
fn await_room<'a>(env: Env<'a>, context: LocalPid, reference: Term<'a>, ticket: u64) -> Term<'a> {
    let caller = ProcessId::new(*env.pid().as_c_arg());
    // SAFETY: the reference is a term of this NIF call.
    let reference = unsafe { Saved::new(reference.as_c_arg()) };
    let waiting = contexts::with(*context.as_c_arg(), |context| {
        let patience = context.patience()?;
        let ticket = (ticket > 0).then_some(ticket);
        let admit = Box::new(move || tell(caller, &reference));
        Some((context.await_room(ticket, admit), patience))
    });
    match waiting {
        Some(Some((Room::Later(ticket), patience))) => {
            let ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
            (atoms::wait(), ticket, ms).encode(env)
        }
        // A context that is gone says so to whoever tries again.
        Some(Some((Room::Now, _))) | None => atoms::room().encode(env),
        Some(None) => atoms::refuse().encode(env),
    }
}

/// `give_up_room(Ctx, Ticket) -> boolean()`; `false`: the message has been sent, or is about to be.
#[rustler::nif]
fn give_up_room(context: LocalPid, ticket: u64) -> bool {
    contexts::with(*context.as_c_arg(), |context| context.give_up_room(ticket)).unwrap_or(false)
}

/// `pass_room_on(Ctx) -> ok`: the caller was told of room, and doesn't want it any more.
#[rustler::nif]
fn pass_room_on(context: LocalPid) -> Atom {
    contexts::with(*context.as_c_arg(), |context| context.pass_room_on());
    atoms::ok()
}

/// Tells a caller that there may be room. On a native thread.
fn tell(caller: ProcessId, reference: &Saved) {
    let env = OwnedEnv::new();
    let ptr = env.as_ptr();
    // SAFETY: the environment is ours alone; this is no scheduler.
    unsafe {
        let message = tuple(ptr, &[reference.copy_to(ptr), atom(ptr, "room")]);
        env.send(caller.pid(), message);
    }
}
