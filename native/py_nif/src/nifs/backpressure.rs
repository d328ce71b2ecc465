//! The NIFs with which a caller waits for capacity in a full queue. See `py_overload`.

use py_runtime::context::Capacity;
use rustler::sys::{ErlNifEnv, ErlNifTerm, c_int, enif_make_uint64};
use rustler::{Atom, Encoder, Env, LocalPid, Term};

use super::copying;
use super::requests::submit_by;
use crate::resources::contexts::{self, Context};
use crate::term::{ProcessId, SavedTerm, TermEnv, atom, tuple};

mod atoms {
    rustler::atoms! { ok, refuse, capacity, wait }
}

/// `submit_as_waiter(Ctx, Request) -> Seq | {error, Reason}`: by a caller that was woken.
extern "C" fn submit_as_waiter(
    env: *mut ErlNifEnv,
    argc: c_int,
    argv: *const ErlNifTerm,
) -> ErlNifTerm {
    let nif = submit_as_waiter;
    // SAFETY: the VM calls this with its two arguments and the calling process's environment.
    unsafe {
        let size =
            match copying::elsewhere(env, c"submit_as_waiter", nif, (argc, argv), *argv.add(1)) {
                Ok(size) => size,
                Err(moved) => return moved,
            };
        submit_by(env, argv, size, Context::submit_bypassing_waiters, |seq| {
            enif_make_uint64(env, seq)
        })
    }
}

rustler::codegen_runtime::inventory::submit!(rustler::Nif {
    name: c"submit_as_waiter".as_ptr(),
    arity: 2,
    flags: 0,
    raw_func: submit_as_waiter,
});

/// `wait_for_capacity(Ctx, Ref, WaiterId) -> refuse | capacity | {wait, WaiterId, Ms}`. `WaiterId`
/// is 0 at first. After `wait`, `{Ref, capacity}` is sent to the caller once, unless
/// `cancel_wait/2` comes first.
#[rustler::nif]
fn wait_for_capacity<'a>(
    env: Env<'a>,
    context: LocalPid,
    reference: Term<'a>,
    waiter: u64,
) -> Term<'a> {
    let caller = ProcessId::new(*env.pid().as_c_arg());
    // SAFETY: the reference is a term of this NIF call.
    let reference = unsafe { SavedTerm::new(reference.as_c_arg()) };
    let waiting = contexts::lookup(*context.as_c_arg(), |context| {
        let overload_wait = context.overload_wait()?;
        let waiter = (waiter > 0).then_some(waiter);
        let waker = Box::new(move || wake(caller, &reference));
        Some((context.wait_for_capacity(waiter, waker), overload_wait))
    });
    match waiting {
        Some(Some((Capacity::Wait(waiter), overload_wait))) => {
            let ms = u64::try_from(overload_wait.as_millis()).unwrap_or(u64::MAX);
            (atoms::wait(), waiter, ms).encode(env)
        }
        // A caller that tries again learns that the context is gone.
        Some(Some((Capacity::Available, _))) | None => atoms::capacity().encode(env),
        Some(None) => atoms::refuse().encode(env),
    }
}

/// `cancel_wait(Ctx, WaiterId) -> boolean()`; `false`: the message has been sent, or is about to
/// be.
#[rustler::nif]
fn cancel_wait(context: LocalPid, waiter: u64) -> bool {
    contexts::lookup(*context.as_c_arg(), |context| context.cancel_wait(waiter)).unwrap_or(false)
}

/// `wake_next_waiter(Ctx) -> ok`: the caller was woken and doesn't submit; the next waiter is
/// woken.
#[rustler::nif]
fn wake_next_waiter(context: LocalPid) -> Atom {
    contexts::lookup(*context.as_c_arg(), |context| context.wake_next_waiter());
    atoms::ok()
}

/// Wakes a caller, because there may be capacity. On a native thread.
fn wake(caller: ProcessId, reference: &SavedTerm) {
    let env = TermEnv::new();
    let ptr = env.as_ptr();
    // SAFETY: the environment is ours alone; this is no scheduler.
    unsafe {
        let message = tuple(ptr, &[reference.copy_to(ptr), atom(ptr, "capacity")]);
        env.send(caller.pid(), message);
    }
}
