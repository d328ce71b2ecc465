//! The NIFs about pools. Routing, `pool_context/1` and `pool_route/1`, is on the hot path and
//! written against the raw interface.

use rustler::sys::{ErlNifEnv, ErlNifTerm, c_int, enif_make_badarg};
use rustler::{Atom, Encoder, Env, LocalPid, NifResult, Term};

use crate::resources::pool::Pool;
use crate::scheduler;
use crate::term::atom;

mod atoms {
    rustler::atoms! { ok, undefined, none }
}

/// `pool_context(Pool) -> pid() | none | unknown`, the scheduler's own; `unknown`: ask again with
/// the scheduler's id.
extern "C" fn pool_context(env: *mut ErlNifEnv, _: c_int, argv: *const ErlNifTerm) -> ErlNifTerm {
    // SAFETY: the VM calls this with its one argument and the calling process's environment.
    unsafe { choose(env, *argv, Pool::context) }
}

/// `pool_route(Pool) -> pid() | none | unknown`, for a call that leaves the choice to the pool;
/// `unknown` as above.
extern "C" fn pool_route(env: *mut ErlNifEnv, _: c_int, argv: *const ErlNifTerm) -> ErlNifTerm {
    // SAFETY: as above.
    unsafe { choose(env, *argv, Pool::spread) }
}

rustler::codegen_runtime::inventory::submit!(rustler::Nif {
    name: c"pool_context".as_ptr(),
    arity: 1,
    flags: 0,
    raw_func: pool_context,
});

rustler::codegen_runtime::inventory::submit!(rustler::Nif {
    name: c"pool_route".as_ptr(),
    arity: 1,
    flags: 0,
    raw_func: pool_route,
});

/// A way to choose a context of a pool.
type Choice = unsafe fn(&Pool, *mut ErlNifEnv, usize) -> Option<ErlNifTerm>;

/// # Safety
/// `pool` belongs to `env`, that of the running NIF call.
unsafe fn choose(env: *mut ErlNifEnv, pool: ErlNifTerm, choice: Choice) -> ErlNifTerm {
    // SAFETY: passed on to the caller.
    unsafe {
        match (scheduler::current(), Pool::from_term(env, pool)) {
            (_, None) => enif_make_badarg(env),
            (None, _) => atom(env, "unknown"),
            (Some(id), Some(pool)) => choice(pool, env, id).unwrap_or_else(|| atom(env, "none")),
        }
    }
}

/// `pool_context(Pool, SchedulerId) -> pid() | none`
#[rustler::nif(name = "pool_context")]
fn pool_context_by_id<'a>(env: Env<'a>, pool: Term<'a>, id: usize) -> NifResult<Term<'a>> {
    choose_by_id(env, pool, id, Pool::context)
}

/// `pool_route(Pool, SchedulerId) -> pid() | none`
#[rustler::nif(name = "pool_route")]
fn pool_route_by_id<'a>(env: Env<'a>, pool: Term<'a>, id: usize) -> NifResult<Term<'a>> {
    choose_by_id(env, pool, id, Pool::spread)
}

fn choose_by_id<'a>(
    env: Env<'a>,
    pool: Term<'a>,
    id: usize,
    choice: Choice,
) -> NifResult<Term<'a>> {
    let pool = decode_pool(pool)?;
    if id == 0 {
        return Err(rustler::Error::BadArg);
    }
    // SAFETY: the NIF call's own environment; pids are immediate terms, valid in any.
    let pid = unsafe { choice(pool, env.as_c_arg(), id).map(|pid| Term::new(env, pid)) };
    Ok(pid.unwrap_or_else(|| atoms::none().encode(env)))
}

/// `scheduler_id() -> pos_integer() | undefined`
#[rustler::nif]
fn scheduler_id(env: Env) -> Term {
    scheduler::current().map_or_else(|| atoms::undefined().encode(env), |id| id.encode(env))
}

/// As `py_options` bounds the contexts of a pool.
const MAX_SLOTS: usize = 65_536;

/// As many as the VM can have.
const MAX_SCHEDULERS: usize = 1024;

/// `pool_new(Size, Schedulers, Spreads) -> Pool`
#[rustler::nif]
fn pool_new(env: Env, size: usize, schedulers: usize, spreads: bool) -> NifResult<Term> {
    if !(1..=MAX_SLOTS).contains(&size) || !(1..=MAX_SCHEDULERS).contains(&schedulers) {
        return Err(rustler::Error::BadArg);
    }
    let pool = Pool::new(size, schedulers, spreads);
    // SAFETY: the NIF call's own environment.
    Ok(unsafe { Term::new(env, pool.into_term(env.as_c_arg())) })
}

fn decode_pool<'a>(pool: Term<'a>) -> NifResult<&'a Pool> {
    // SAFETY: the term belongs to the NIF call's environment.
    unsafe { Pool::from_term(pool.get_env().as_c_arg(), pool.as_c_arg()) }
        .ok_or(rustler::Error::BadArg)
}

/// `pool_close(Pool) -> ok`
#[rustler::nif]
fn pool_close(pool: Term) -> NifResult<Atom> {
    decode_pool(pool)?.close();
    Ok(atoms::ok())
}

/// `pool_is_closed(Pool) -> boolean()`
#[rustler::nif]
fn pool_is_closed(pool: Term) -> NifResult<bool> {
    Ok(decode_pool(pool)?.is_closed())
}

/// `pool_set(Pool, Slot, Pid) -> ok`; slots from 1.
#[rustler::nif]
fn pool_set(pool: Term, slot: usize, pid: LocalPid) -> NifResult<Atom> {
    let slot = slot.checked_sub(1).ok_or(rustler::Error::BadArg)?;
    decode_pool(pool)?.set(slot, *pid.as_c_arg());
    Ok(atoms::ok())
}

/// `pool_drain_slot(Pool, Slot) -> ok`, called by the context in the slot when it begins to stop.
#[rustler::nif]
fn pool_drain_slot(env: Env, pool: Term, slot: usize) -> NifResult<Atom> {
    let slot = slot.checked_sub(1).ok_or(rustler::Error::BadArg)?;
    decode_pool(pool)?.leave(slot, *env.pid().as_c_arg());
    Ok(atoms::ok())
}

/// `pool_resize(Pool, Size) -> ok`
#[rustler::nif]
fn pool_resize(pool: Term, size: usize) -> NifResult<Atom> {
    let pool = decode_pool(pool)?;
    if !(1..=MAX_SLOTS).contains(&size) {
        return Err(rustler::Error::BadArg);
    }
    pool.resize(size);
    Ok(atoms::ok())
}

/// `pool_contexts(Pool) -> [pid()]`, in slot order.
#[rustler::nif]
fn pool_contexts<'a>(env: Env<'a>, pool: Term<'a>) -> NifResult<Vec<Term<'a>>> {
    // SAFETY: pids are immediate terms, valid in any environment.
    Ok(decode_pool(pool)?.pids().into_iter().map(|pid| unsafe { Term::new(env, pid) }).collect())
}
