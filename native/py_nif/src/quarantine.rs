//! Wards by pool, and the NIFs that put a fresh context in the place of a stuck one.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;
use py_runtime::quarantine::Quarantine;
use rustler::{Atom, Binary, Encoder, Env, NifResult, ResourceArc, Term};

use crate::directory;
use crate::error::{Death, Error};
use crate::resources::{ContextHandle, Process};
use crate::settings;
use crate::term::{Saved, pid_term, word};

mod atoms {
    rustler::atoms! { not_stuck, error, system_limit }
}

/// The ward of each pool that has contexts or stuck threads, by the word of the pool's name. A pool
/// that is stopped and started again finds the threads of its former life.
static WARDS: LazyLock<Mutex<HashMap<usize, Weak<Quarantine>>>> = LazyLock::new(Mutex::default);

/// The ward of a pool (an atom; `undefined` for contexts that are in none).
pub(crate) fn ward(pool: Atom, env: Env) -> Arc<Quarantine> {
    let mut wards = WARDS.lock();
    let pool = word(pool.encode(env).as_c_arg());
    if let Some(ward) = wards.get(&pool).and_then(Weak::upgrade) {
        return ward;
    }
    wards.retain(|_, ward| ward.strong_count() > 0);
    let ward = Arc::new(Quarantine::new(settings::quarantine_limit()));
    wards.insert(pool, Arc::downgrade(&ward));
    ward
}

/// `quarantined(Pool) -> non_neg_integer()`: its stuck threads.
#[rustler::nif]
fn quarantined(env: Env, pool: Atom) -> usize {
    ward(pool, env).stuck()
}

/// `context_replace(Handle, Ref, Preload) -> NewHandle | not_stuck | {error, Reason}`, called by the context's
/// process: starts the context that is to take over from a stuck one. Its events come with `Ref`.
#[rustler::nif]
fn context_replace<'a>(
    env: Env<'a>,
    handle: ResourceArc<ContextHandle>,
    reference: Term<'a>,
    preload: Vec<Binary<'a>>,
) -> NifResult<Term<'a>> {
    let stuck = &handle.context;
    if !stuck.is_stuck() {
        return Ok(atoms::not_stuck().encode(env));
    }
    if stuck.quarantine().is_full() {
        // SAFETY: the NIF call's own environment.
        return Ok(unsafe { Term::new(env, Error::quarantined(stuck).to_term(env.as_c_arg())) });
    }
    let pid = env.pid();
    // SAFETY: the reference is a term of this NIF call.
    let reference = unsafe { Saved::new(reference.as_c_arg()) };
    let preload = preload.iter().map(|source| source.as_slice().to_vec()).collect();
    let owner = Arc::new(Process::new(*pid.as_c_arg(), reference));
    let Ok(context) = stuck.start_replacement(preload, owner) else {
        return Ok((atoms::error(), atoms::system_limit()).encode(env));
    };
    let handle = ResourceArc::new(ContextHandle { context });
    // Fails only for a dead process, and this one is running.
    env.monitor(&handle, &pid);
    Ok(handle.encode(env))
}

/// `context_hand_over(Handle, NewHandle) -> boolean()`, called by the context's process, which has both.
/// `false`: the thread has come back in time, and nothing has changed.
#[rustler::nif]
fn context_hand_over(
    env: Env,
    from: ResourceArc<ContextHandle>,
    to: ResourceArc<ContextHandle>,
) -> NifResult<bool> {
    let caller = word(pid_term(*env.pid().as_c_arg())) as u64;
    let are_callers = [&from, &to].iter().all(|handle| handle.context.owner_id() == caller);
    if !are_callers || std::ptr::eq(&*from, &*to) {
        return Err(rustler::Error::BadArg);
    }
    let moved = from.context.take_over_by(&to.context, &Death::Stuck);
    if moved {
        // Until here, who came through the old entry was passed on to the new context.
        directory::insert(*env.pid().as_c_arg(), to);
    }
    Ok(moved)
}
