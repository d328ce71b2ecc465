//! The NIFs with which a caller waits for capacity in a full queue. See `py_overload`.

use py_runtime::context::Capacity;
use rustler::sys::{ErlNifEnv, ErlNifTerm, c_int, enif_make_uint64};
use rustler::{Atom, Encoder, Env, LocalPid, Term};

use super::copying;
use super::requests::submit_by;
use crate::resources::contexts::{self, Context};
use crate::term::{ProcessId, SavedTerm, TermEnv, atom, tuple};

mod atoms {
    rustler::atoms! { ok, refuse, room, wait }
}

/// `submit_admitted(Ctx, Request) -> Seq | {error, Reason}`: by a caller that was woken.
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
            submit_by(env, argv, Context::submit_bypassing_waiters, |seq| {
                enif_make_uint64(env, seq)
            })
        })
    }
}

rustler::codegen_runtime::inventory::submit!(rustler::Nif {
    name: c"submit_admitted".as_ptr(),
    arity: 2,
    flags: 0,
    raw_func: submit_admitted,
});

/// `await_room(Ctx, Ref, WaiterId) -> refuse | room | {wait, WaiterId, Ms}`. `WaiterId` is 0 at first.
/// After `wait`, `{Ref, room}` is sent to the caller once, unless `give_up_room/2` comes first.
#[rustler::nif]
fn await_room<'a>(env: Env<'a>, context: LocalPid, reference: Term<'a>, waiter: u64) -> Term<'a> {
    let caller = ProcessId::new(*env.pid().as_c_arg());
    // SAFETY: the reference is a term of this NIF call.
    let reference = unsafe { SavedTerm::new(reference.as_c_arg()) };
    let waiting = contexts::lookup(*context.as_c_arg(), |context| {
        let patience = context.overload_wait()?;
        let waiter = (waiter > 0).then_some(waiter);
        let admit = Box::new(move || wake(caller, &reference));
        Some((context.wait_for_capacity(waiter, admit), patience))
    });
    match waiting {
        Some(Some((Capacity::Wait(waiter), patience))) => {
            let ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
            (atoms::wait(), waiter, ms).encode(env)
        }
        // A caller that tries again learns that the context is gone.
        Some(Some((Capacity::Available, _))) | None => atoms::room().encode(env),
        Some(None) => atoms::refuse().encode(env),
    }
}

/// `give_up_room(Ctx, WaiterId) -> boolean()`; `false`: the message has been sent, or is about to be.
#[rustler::nif]
fn give_up_room(context: LocalPid, waiter: u64) -> bool {
    contexts::lookup(*context.as_c_arg(), |context| context.cancel_wait(waiter)).unwrap_or(false)
}

/// `pass_room_on(Ctx) -> ok`: the caller was woken and doesn't submit; the next waiter is woken.
#[rustler::nif]
fn pass_room_on(context: LocalPid) -> Atom {
    contexts::lookup(*context.as_c_arg(), |context| context.wake_next_waiter());
    atoms::ok()
}

/// Wakes a caller, because there may be capacity. On a native thread.
fn wake(caller: ProcessId, reference: &SavedTerm) {
    let env = TermEnv::new();
    let ptr = env.as_ptr();
    // SAFETY: the environment is ours alone; this is no scheduler.
    unsafe {
        let message = tuple(ptr, &[reference.copy_to(ptr), atom(ptr, "room")]);
        env.send(caller.pid(), message);
    }
}
