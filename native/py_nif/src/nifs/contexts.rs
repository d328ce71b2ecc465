//! The NIFs about a context's life: start, end, replacement, and what is known of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use py_runtime::context::{Config, Context as Runtime, OnCallerDown};
use py_runtime::mode::Mode;
use rustler::{Atom, Binary, Encoder, Env, LocalPid, NifResult, ResourceArc, Term};

use crate::request::error::{Error, ExitReason};
use crate::resources::contexts::{self, Context, ContextHandle};
use crate::resources::owner::OwnerProcess;
use crate::resources::quarantines;
use crate::settings;
use crate::term::{ProcessId, SavedTerm};

mod atoms {
    rustler::atoms! {
        ok, error, undefined, infinity, worker, subinterp, owngil, system_limit, not_stuck,
        id, mode, interp_id, thread_id, state, queue, max_queue, busy_ms,
        preload, on_caller_down, finish, stuck_after, interrupt_grace, stuck, pool, quarantined,
        max_tasks, cancel_grace, event_loop, asyncio, tasks, abandoned_tasks,
        overload, direct_limit, direct, direct_refused,
        done, failed, timed_out, cancelled, idle, busy, closing, python_interp,
        held_objects, refuse, wait, interrupt,
    }
}

/// `context_start(Ref, Options) -> Handle | {error, Reason}`, called by the context's process. See
/// [`config`] for the options. Then come:
///
/// - `{py_context, Ref, started | {error, Reason}}`;
/// - `{py_context, Ref, stuck}`, when a job should have ended long ago;
/// - `{py_context, Ref, ended}`, when the context's thread is gone.
#[rustler::nif]
fn context_start<'a>(env: Env<'a>, reference: Term<'a>, options: Term<'a>) -> NifResult<Term<'a>> {
    let pid = env.pid();
    let config = config(ProcessId::new(*pid.as_c_arg()).bits() as u64, options)?;
    if config.quarantine.is_full() {
        let error = Error::quarantined(&config.quarantine);
        // SAFETY: the NIF call's own environment.
        return Ok(unsafe { Term::new(env, error.to_term(env.as_c_arg())) });
    }
    // SAFETY: the reference is a term of this NIF call.
    let reference = unsafe { SavedTerm::new(reference.as_c_arg()) };
    let owner = Arc::new(OwnerProcess::new(ProcessId::new(*pid.as_c_arg()), reference));
    let context = Runtime::start(config, owner)
        .map_err(|_| rustler::Error::Term(Box::new(atoms::system_limit())))?;
    let handle = ResourceArc::new(ContextHandle { context });
    // Fails only for a dead process, and this one is running.
    env.monitor(&handle, &pid);
    contexts::insert(*pid.as_c_arg(), handle.clone());
    Ok(handle.encode(env))
}

/// A context's options, all of them: `#{mode, max_queue, preload, on_caller_down, stuck_after,
/// interrupt_grace, direct_limit, overload, max_tasks, cancel_grace, event_loop, pool}`. Other keys
/// are ignored.
fn config(owner_id: u64, options: Term) -> NifResult<Config> {
    const BAD: rustler::Error = rustler::Error::BadArg;
    let env = options.get_env();
    let option = |key: Atom| options.map_get(key.encode(env));
    let max_queue = option(atoms::max_queue())?;
    let overload = option(atoms::overload())?;
    let timeout = |key: Atom| -> NifResult<Option<Duration>> {
        let ms = option(key)?;
        match ms.decode::<Atom>() {
            Ok(infinity) if infinity == atoms::infinity() => Ok(None),
            _ => Ok(Some(Duration::from_millis(ms.decode::<u32>()?.into()))),
        }
    };
    let on_caller_down = match option(atoms::on_caller_down())?.decode::<Atom>()? {
        finish if finish == atoms::finish() => OnCallerDown::Finish,
        interrupt if interrupt == atoms::interrupt() => OnCallerDown::Interrupt,
        _ => return Err(BAD),
    };
    Ok(Config {
        owner_id,
        mode: decode_mode(option(atoms::mode())?.decode()?)?,
        max_queue: match max_queue.decode::<Atom>() {
            Ok(infinity) if infinity == atoms::infinity() => usize::MAX,
            _ => max_queue.decode::<usize>().ok().filter(|most| *most > 0).ok_or(BAD)?,
        },
        preload: option(atoms::preload())?
            .decode::<Vec<Binary>>()?
            .iter()
            .map(|source| source.as_slice().to_vec())
            .collect(),
        spin: settings::spin(),
        on_caller_down,
        stuck_after: timeout(atoms::stuck_after())?,
        interrupt_grace: timeout(atoms::interrupt_grace())?,
        direct_limit: Duration::from_micros(option(atoms::direct_limit())?.decode::<u32>()?.into()),
        max_tasks: option(atoms::max_tasks())?.decode()?,
        cancel_grace: timeout(atoms::cancel_grace())?,
        overload_wait: match overload.decode::<Atom>() {
            Ok(refuse) if refuse == atoms::refuse() => None,
            _ => match overload.decode::<(Atom, u32)>()? {
                (wait, ms) if wait == atoms::wait() => Some(Duration::from_millis(ms.into())),
                _ => return Err(BAD),
            },
        },
        event_loop: match option(atoms::event_loop())? {
            module if module == atoms::asyncio().encode(env) => None,
            module => Some(module.decode::<Atom>()?.to_term(env).atom_to_string()?),
        },
        quarantine: quarantines::of_pool(option(atoms::pool())?.decode()?, env),
    })
}

/// `context_drain(Handle) -> ok`: waiting jobs are run, then the thread ends.
#[rustler::nif]
fn context_drain(handle: ResourceArc<ContextHandle>) -> Atom {
    handle.context.drain();
    atoms::ok()
}

/// `context_close(Handle, Reason) -> ok`: waiting jobs are answered, the running one may finish.
#[rustler::nif]
fn context_close(handle: ResourceArc<ContextHandle>, reason: Term) -> Atom {
    handle.context.close(death(reason));
    atoms::ok()
}

/// `context_kill(Handle, Reason) -> ok`: the running job is answered too, and interrupted.
#[rustler::nif]
fn context_kill(handle: ResourceArc<ContextHandle>, reason: Term) -> Atom {
    handle.context.kill(death(reason));
    atoms::ok()
}

fn death(reason: Term) -> ExitReason {
    // SAFETY: the reason is a term of this NIF call.
    ExitReason::Reason(Arc::new(unsafe { SavedTerm::new(reason.as_c_arg()) }))
}

/// `context_replace(Handle, Ref, Preload) -> NewHandle | not_stuck | {error, Reason}`, called by
/// the context's process: starts the context that is to take over from a stuck one. Its events come
/// with `Ref`.
#[rustler::nif]
fn context_replace<'a>(
    env: Env<'a>,
    handle: ResourceArc<ContextHandle>,
    reference: Term<'a>,
    preload: Vec<Binary<'a>>,
) -> NifResult<Term<'a>> {
    let stuck = &handle.context;
    if !stuck.check_stuck() {
        return Ok(atoms::not_stuck().encode(env));
    }
    if stuck.quarantine().is_full() {
        // SAFETY: the NIF call's own environment.
        return Ok(unsafe {
            Term::new(env, Error::quarantined(stuck.quarantine()).to_term(env.as_c_arg()))
        });
    }
    let pid = env.pid();
    // SAFETY: the reference is a term of this NIF call.
    let reference = unsafe { SavedTerm::new(reference.as_c_arg()) };
    let preload = preload.iter().map(|source| source.as_slice().to_vec()).collect();
    let owner = Arc::new(OwnerProcess::new(ProcessId::new(*pid.as_c_arg()), reference));
    let Ok(context) = stuck.start_replacement(preload, owner) else {
        return Ok((atoms::error(), atoms::system_limit()).encode(env));
    };
    let handle = ResourceArc::new(ContextHandle { context });
    // Fails only for a dead process, and this one is running.
    env.monitor(&handle, &pid);
    Ok(handle.encode(env))
}

/// `context_take_over(Handle, NewHandle) -> boolean()`, called by the context's process: the new
/// context takes over. `false`: the stuck thread has come back, and nothing has changed.
#[rustler::nif]
fn context_take_over(
    env: Env,
    from: ResourceArc<ContextHandle>,
    to: ResourceArc<ContextHandle>,
) -> NifResult<bool> {
    let caller = ProcessId::new(*env.pid().as_c_arg()).bits() as u64;
    let are_callers = [&from, &to].iter().all(|handle| handle.context.owner_id() == caller);
    if !are_callers || std::ptr::eq(&*from, &*to) {
        return Err(rustler::Error::BadArg);
    }
    let moved = from.context.take_over_by(&to.context, &ExitReason::Stuck);
    if moved {
        // Until here, the old context has passed requests on to the new one.
        contexts::insert(*env.pid().as_c_arg(), to);
    }
    Ok(moved)
}

/// `contexts() -> [pid()]`: of all contexts, also of those that are starting.
#[rustler::nif]
fn contexts(env: Env) -> Vec<Term> {
    // SAFETY: pids are immediate terms, valid in any environment.
    contexts::pids().into_iter().map(|pid| unsafe { Term::new(env, pid) }).collect()
}

/// `context_info(Ctx) -> map() | undefined`
#[rustler::nif]
fn context_info(env: Env, context: LocalPid) -> Term {
    contexts::lookup(*context.as_c_arg(), |context| info(env, context))
        .unwrap_or_else(|| atoms::undefined().encode(env))
}

fn info<'a>(env: Env<'a>, context: &Context) -> Term<'a> {
    let counts = context.counts();
    let busy = context.busy_for();
    let state = match busy {
        _ if context.is_stuck() => atoms::stuck(),
        _ if context.is_closed() => atoms::closing(),
        Some(_) => atoms::busy(),
        None => atoms::idle(),
    };
    let max_queue = match context.max_queue() {
        usize::MAX => atoms::infinity().encode(env),
        bound => bound.encode(env),
    };
    let busy_ms = busy.map_or_else(
        || atoms::undefined().encode(env),
        |busy| u64::try_from(busy.as_millis()).unwrap_or(u64::MAX).encode(env),
    );
    let (direct, direct_refused) = context.direct_counts();
    let numbers = [
        (atoms::interp_id(), context.id()),
        (atoms::thread_id(), context.native_thread_id()),
        (atoms::queue(), context.waiting() as u64),
        (atoms::held_objects(), context.handle_count() as u64),
        (atoms::done(), counts.done),
        (atoms::failed(), counts.failed),
        (atoms::timed_out(), counts.timed_out),
        (atoms::cancelled(), counts.cancelled),
        (atoms::quarantined(), context.abandoned_threads() as u64),
        (atoms::direct(), direct),
        (atoms::direct_refused(), direct_refused),
        (atoms::tasks(), context.task_count() as u64),
        (atoms::abandoned_tasks(), context.abandoned_tasks() as u64),
    ];
    let mut map: HashMap<Atom, Term> =
        numbers.into_iter().map(|(key, number)| (key, number.encode(env))).collect();
    map.insert(atoms::mode(), encode_mode(context.mode()).encode(env));
    map.insert(atoms::state(), state.encode(env));
    map.insert(atoms::max_queue(), max_queue);
    map.insert(atoms::busy_ms(), busy_ms);
    map.insert(atoms::python_interp(), context.interpreter_number().encode(env));
    map.encode(env)
}

/// `quarantined(Pool) -> non_neg_integer()`: how many of its threads are stuck.
#[rustler::nif]
fn quarantined(env: Env, pool: Atom) -> usize {
    quarantines::of_pool(pool, env).stuck()
}

pub(super) fn decode_mode(mode: Atom) -> NifResult<Mode> {
    match mode {
        mode if mode == atoms::worker() => Ok(Mode::Worker),
        mode if mode == atoms::subinterp() => Ok(Mode::SubInterpreter),
        mode if mode == atoms::owngil() => Ok(Mode::OwnGil),
        _ => Err(rustler::Error::BadArg),
    }
}

fn encode_mode(mode: Mode) -> Atom {
    match mode {
        Mode::Worker => atoms::worker(),
        Mode::SubInterpreter => atoms::subinterp(),
        Mode::OwnGil => atoms::owngil(),
    }
}
