//! The NIFs behind `py_nif.erl`. Nothing here waits, and nothing here touches Python.
//!
//! Those on the hot path, `ask/2`, `submit/2` and `pool_context/1`, are written against the raw
//! interface; the rest leaves decoding and encoding to Rustler.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use py_runtime::boot::{self, BootError};
use py_runtime::context::{Config, Context as Runtime, OnCallerDown, SubmitError};
use py_runtime::mode::Mode;
use py_runtime::reply_state::Cancel;
use rustler::sys::{
    ErlNifEnv, ErlNifPid, ErlNifTerm, c_int, enif_get_local_pid, enif_get_tuple, enif_make_badarg,
    enif_make_uint64, enif_self,
};
use rustler::{Atom, Binary, Encoder, Env, LocalPid, NifResult, OwnedEnv, ResourceArc, Term};

use crate::call::{Answer, Call, GivenUp, Tag, Ticket};
use crate::copying;
use crate::directory::{self, Context};
use crate::error::{Death, Error};
use crate::frame;
use crate::places;
use crate::pool::Pool;
use crate::python_module;
use crate::quarantine;
use crate::resources::{ContextHandle, EnvHandle, ObjectHandle, Process};
use crate::scheduler;
use crate::settings::{self, Settings};
use crate::term::{Saved, atom, from_word, pid_term, tuple, word};

mod atoms {
    rustler::atoms! {
        ok, error, undefined, r#true = "true", sending, sent, not_running, none, infinity,
        worker, subinterp, owngil,
        py_boot, py_atexit, boot_failed, running_as, system_limit, unsupported_mode,
        soon, id, mode, interp_id, thread_id, state, queue, max_queue, busy_ms,
        preload, on_caller_down, finish, stuck_after, interrupt_grace, stuck, pool, quarantined, overload,
        done, failed, timed_out, cancelled, idle, busy, closing, python_interp, held_objects,
        refuse, wait, interrupt,
    }
}

// ---------------------------------------------------------------- hot path

/// `ask(Ctx, Request) -> Seq | {soon, Seq} | {error, Reason}`; `soon`: the caller has the context to
/// itself.
extern "C" fn ask(env: *mut ErlNifEnv, argc: c_int, argv: *const ErlNifTerm) -> ErlNifTerm {
    let submit = |context: &Context, call: Call| {
        let soon = context.note_caller(word(pid_term(call.caller())));
        context.submit(call).map(|seq| (seq, soon))
    };
    // SAFETY: the VM calls this with its two arguments and the calling process's environment.
    unsafe {
        let moved = copying::elsewhere(env, c"ask", ask, (argc, argv), *argv.add(1));
        moved.unwrap_or_else(|| {
            submit_by(env, argv, submit, |(seq, soon)| match soon {
                true => tuple(env, &[atoms::soon().as_c_arg(), enif_make_uint64(env, seq)]),
                false => enif_make_uint64(env, seq),
            })
        })
    }
}

/// `submit(Ctx, Request) -> Seq | {error, Reason}`
extern "C" fn submit(env: *mut ErlNifEnv, argc: c_int, argv: *const ErlNifTerm) -> ErlNifTerm {
    // SAFETY: the VM calls this with its two arguments and the calling process's environment.
    unsafe {
        let moved = copying::elsewhere(env, c"submit", submit, (argc, argv), *argv.add(1));
        moved.unwrap_or_else(|| {
            submit_by(env, argv, Context::submit, |seq| enif_make_uint64(env, seq))
        })
    }
}

/// # Safety
/// `env` is that of the running NIF call, `argv` its two arguments.
pub(crate) unsafe fn submit_by<T>(
    env: *mut ErlNifEnv,
    argv: *const ErlNifTerm,
    submit: impl FnOnce(&Context, Call) -> Result<T, SubmitError<Call>>,
    answer: impl FnOnce(T) -> ErlNifTerm,
) -> ErlNifTerm {
    // SAFETY: passed on to the caller.
    unsafe {
        let (context, request) = (*argv, *argv.add(1));
        let mut pid = std::mem::MaybeUninit::<ErlNifPid>::uninit();
        if !is_request(env, request) {
            return enif_make_badarg(env);
        }
        if enif_get_local_pid(env, context, pid.as_mut_ptr()) == 0 {
            return Error::ContextDied(Death::NoProc).to_term(env);
        }
        let submitted = directory::with(pid.assume_init(), |context| {
            let call = Call::new(caller(env), request);
            submit(context, call).map_err(|refused| refusal(&refused, context))
        });
        match submitted {
            Some(Ok(taken)) => answer(taken),
            Some(Err(error)) => error.to_term(env),
            None => Error::ContextDied(Death::NoProc).to_term(env),
        }
    }
}

/// Whether it begins as all requests do, with an operation, a reference and flags: without the reference
/// nobody could be answered. The rest is looked at on the context's thread.
///
/// # Safety
/// `term` belongs to `env`, that of the running NIF call.
unsafe fn is_request(env: *mut ErlNifEnv, term: ErlNifTerm) -> bool {
    let (mut arity, mut elements) = (0, std::ptr::null());
    // SAFETY: passed on to the caller.
    unsafe { enif_get_tuple(env, term, &raw mut arity, &raw mut elements) != 0 && arity >= 3 }
}

/// # Safety
/// `env` is that of the running NIF call.
unsafe fn caller(env: *mut ErlNifEnv) -> ErlNifPid {
    let mut caller = std::mem::MaybeUninit::uninit();
    // SAFETY: a NIF call has a process, so the pid is filled in.
    unsafe {
        enif_self(env, caller.as_mut_ptr());
        caller.assume_init()
    }
}

fn refusal(refused: &SubmitError<Call>, context: &Context) -> Error {
    match refused {
        SubmitError::Overloaded { queue, .. } => {
            Error::Overloaded { queue: *queue, max_queue: context.max_queue() }
        }
        SubmitError::Quarantined(_) => Error::quarantined(context),
        SubmitError::Closed(_) => Error::ContextDied(Death::NoProc),
    }
}

rustler::codegen_runtime::inventory::submit!(rustler::Nif {
    name: c"ask".as_ptr(),
    arity: 2,
    flags: 0,
    raw_func: ask,
});

rustler::codegen_runtime::inventory::submit!(rustler::Nif {
    name: c"submit".as_ptr(),
    arity: 2,
    flags: 0,
    raw_func: submit,
});

/// `pool_context(Pool) -> pid() | none | unknown`, the scheduler's own; `unknown`: ask again with the
/// scheduler's id.
extern "C" fn pool_context(env: *mut ErlNifEnv, _: c_int, argv: *const ErlNifTerm) -> ErlNifTerm {
    // SAFETY: the VM calls this with its one argument and the calling process's environment.
    unsafe { choose(env, *argv, Pool::context) }
}

/// `pool_route(Pool) -> pid() | none | unknown`, where a call goes that is left to the pool; `unknown`
/// as above.
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

/// `locate(Source, File, Line) -> ok`
#[rustler::nif]
fn locate(source: Binary, file: &str, line: u32) -> Atom {
    places::note(&source, file, line);
    atoms::ok()
}

// ---------------------------------------------------------------- requests

/// `submit_message(Ctx, Request) -> Ticket | {error, Reason}`; then `{py_result, Ticket, Result}`.
extern "C" fn submit_message(
    env: *mut ErlNifEnv,
    argc: c_int,
    argv: *const ErlNifTerm,
) -> ErlNifTerm {
    let nif = submit_message;
    // SAFETY: the VM calls this with its two arguments and the calling process's environment.
    unsafe {
        let moved = copying::elsewhere(env, c"submit_message", nif, (argc, argv), *argv.add(1));
        moved.unwrap_or_else(|| {
            copying::body(env, (argc, argv), |env, arguments| {
                let [context, request] = arguments else { return Err(rustler::Error::BadArg) };
                let answer = |ticket: Term| Answer::Message(ticket.as_c_arg());
                submit_answered(env, context.decode()?, *request, answer)
            })
        })
    }
}

rustler::codegen_runtime::inventory::submit!(rustler::Nif {
    name: c"submit_message".as_ptr(),
    arity: 2,
    flags: 0,
    raw_func: submit_message,
});

/// `submit_cast(Ctx, Request, Reports) -> Ticket | {error, Reason}`; an error of the request's own is
/// sent to the process that is registered as `Reports` by then, as `{py_cast, Caller, Request, Error}`.
extern "C" fn submit_cast(env: *mut ErlNifEnv, argc: c_int, argv: *const ErlNifTerm) -> ErlNifTerm {
    // SAFETY: the VM calls this with its three arguments and the calling process's environment.
    unsafe {
        let moved =
            copying::elsewhere(env, c"submit_cast", submit_cast, (argc, argv), *argv.add(1));
        moved.unwrap_or_else(|| {
            copying::body(env, (argc, argv), |env, arguments| {
                let [context, request, reports] = arguments else {
                    return Err(rustler::Error::BadArg);
                };
                let reports = reports.decode::<Atom>()?.as_c_arg();
                let answer = |_: Term| Answer::Report(reports);
                submit_answered(env, context.decode()?, *request, answer)
            })
        })
    }
}

rustler::codegen_runtime::inventory::submit!(rustler::Nif {
    name: c"submit_cast".as_ptr(),
    arity: 3,
    flags: 0,
    raw_func: submit_cast,
});

fn submit_answered<'a>(
    env: Env<'a>,
    context: LocalPid,
    request: Term<'a>,
    answer: impl FnOnce(Term<'a>) -> Answer,
) -> NifResult<Term<'a>> {
    // SAFETY: a term of this NIF call.
    if !unsafe { is_request(env.as_c_arg(), request.as_c_arg()) } {
        return Err(rustler::Error::BadArg);
    }
    let ticket = ResourceArc::new(Ticket::default());
    let reference = ticket.encode(env);
    let answer = answer(reference);
    // SAFETY: the request and the ticket are terms of this NIF call.
    let call = unsafe { Call::answered_by(caller(env.as_c_arg()), request.as_c_arg(), answer) };
    let submitted = directory::with(*context.as_c_arg(), |context| {
        let seq = context.submit(call.clone()).map_err(|refused| refusal(&refused, context))?;
        ticket.validate(context, seq, call.downgrade());
        Ok(())
    });
    match submitted.unwrap_or(Err(Error::ContextDied(Death::NoProc))) {
        Ok(()) => Ok(reference),
        // SAFETY: the NIF call's own environment.
        Err(error) => Ok(unsafe { Term::new(env, error.to_term(env.as_c_arg())) }),
    }
}

/// `tag(Pid) -> reference()`, which stands for the process.
#[rustler::nif]
fn tag(pid: LocalPid) -> ResourceArc<Tag> {
    ResourceArc::new(Tag(*pid.as_c_arg()))
}

/// `tagged(Tag) -> pid()`
#[rustler::nif]
fn tagged(tag: ResourceArc<Tag>) -> LocalPid {
    LocalPid::from_c_arg(tag.0)
}

/// `give_up(Ticket) -> true | sending | sent`; `true`: no message will come.
#[rustler::nif]
fn give_up(ticket: ResourceArc<Ticket>) -> Atom {
    match ticket.give_up() {
        GivenUp::Yes => atoms::r#true(),
        GivenUp::Sending => atoms::sending(),
        GivenUp::Sent => atoms::sent(),
    }
}

/// `is_over(Ticket) -> boolean()`
#[rustler::nif]
fn is_over(ticket: ResourceArc<Ticket>) -> bool {
    ticket.is_over()
}

/// `cancel(Ctx, Seq) -> boolean()`; `true`: no reply will come.
#[rustler::nif]
fn cancel(context: LocalPid, seq: u64) -> bool {
    let outcome = directory::with(*context.as_c_arg(), |context| context.cancel(seq));
    // A context that is gone has answered, or is about to.
    matches!(outcome, Some(Cancel::Waiting | Cancel::Running))
}

/// `interrupt(Ctx) -> ok | not_running | undefined`
#[rustler::nif]
fn interrupt(context: LocalPid) -> Atom {
    match directory::with(*context.as_c_arg(), Context::interrupt) {
        Some(true) => atoms::ok(),
        Some(false) => atoms::not_running(),
        None => atoms::undefined(),
    }
}

/// `object_context(Term) -> pid() | undefined`: of a handle on a Python object; `undefined` for
/// anything else.
#[rustler::nif]
fn object_context<'a>(env: Env<'a>, term: Term<'a>) -> Term<'a> {
    let handle = term.decode::<ResourceArc<ObjectHandle>>();
    encode_owner(env, handle.ok().map(|handle| handle.context().owner_id()))
}

/// `reference_context(Term) -> pid() | undefined`: of a handle or an environment.
#[rustler::nif]
fn reference_context<'a>(env: Env<'a>, term: Term<'a>) -> Term<'a> {
    let object = || Some(term.decode::<ResourceArc<ObjectHandle>>().ok()?.context().owner_id());
    let namespace = || Some(term.decode::<ResourceArc<EnvHandle>>().ok()?.context().owner_id());
    encode_owner(env, object().or_else(namespace))
}

fn encode_owner(env: Env, label: Option<u64>) -> Term {
    match label {
        // SAFETY: a context's label is the word of a local pid.
        Some(label) => unsafe { Term::new(env, from_word(label as usize)) },
        None => atoms::undefined().encode(env),
    }
}

// ---------------------------------------------------------------- Python itself

/// `boot(Executable :: binary() | undefined, Settings) -> ok`, then `{py_boot, Outcome}`:
/// `ok | {error, {boot_failed, Why} | {running_as, Executable}}`.
#[rustler::nif]
fn boot(env: Env, executable: Term, settings: Settings) -> NifResult<Atom> {
    let executable = match executable.decode::<Binary>() {
        Ok(path) if path.contains(&0) => return Err(rustler::Error::BadArg),
        Ok(path) => Some(PathBuf::from(OsStr::from_bytes(path.as_slice()))),
        Err(_) if executable.decode::<Atom>()? == atoms::undefined() => None,
        Err(_) => return Err(rustler::Error::BadArg),
    };
    settings.apply();
    let caller = env.pid();
    let variables = settings.variables();
    let boot = move || {
        let outcome = boot::boot(&boot::Options {
            executable,
            variables,
            modules: &[(python_module::NAME, python_module::init)],
        });
        // The caller may be gone; then nobody waits.
        let _ = OwnedEnv::new().send_and_clear(&caller, |env| {
            (
                atoms::py_boot(),
                outcome.map_err(|error| boot_error(env, error)).map_or_else(
                    |error| (atoms::error(), error).encode(env),
                    |()| atoms::ok().encode(env),
                ),
            )
        });
    };
    std::thread::Builder::new()
        .name("py_boot".into())
        .spawn(boot)
        .map_err(|_| rustler::Error::Term(Box::new(atoms::system_limit())))?;
    Ok(atoms::ok())
}

fn boot_error(env: Env, error: BootError) -> Term {
    match error {
        BootError::Failed(why) => (atoms::boot_failed(), why).encode(env),
        BootError::RunningAs(path) => {
            let path = path.map(|path| path.to_string_lossy().into_owned());
            (atoms::running_as(), path).encode(env)
        }
    }
}

/// `run_atexit() -> ok`, then `py_atexit` is sent to the caller.
#[rustler::nif]
fn run_atexit(env: Env) -> NifResult<Atom> {
    let caller = env.pid();
    let run = move || {
        py_runtime::interpreter::run_atexit();
        frame::say_last_words();
        // The caller may have lost its patience.
        let _ = OwnedEnv::new().send_and_clear(&caller, |env| atoms::py_atexit().encode(env));
    };
    std::thread::Builder::new()
        .name("py_atexit".into())
        .spawn(run)
        .map_err(|_| rustler::Error::Term(Box::new(atoms::system_limit())))?;
    Ok(atoms::ok())
}

/// `version() -> binary()`: of the linked Python.
#[rustler::nif]
fn version() -> &'static str {
    py_runtime::version::version()
}

/// `build_executable() -> binary() | undefined`: of the Python that the library was built with.
#[rustler::nif]
fn build_executable(env: Env) -> Term {
    match py_runtime::version::build_executable() {
        Some(path) => path.to_string_lossy().encode(env),
        None => atoms::undefined().encode(env),
    }
}

/// `check_mode(Mode) -> ok | {error, {unsupported_mode, Mode, Why}}`
#[rustler::nif]
fn check_mode(env: Env, mode: Atom) -> NifResult<Term> {
    Ok(match decode_mode(mode)?.check() {
        Ok(()) => atoms::ok().encode(env),
        Err(why) => (atoms::error(), (atoms::unsupported_mode(), mode, why)).encode(env),
    })
}

// ---------------------------------------------------------------- contexts

/// `context_start(Ref, Options) -> Handle | {error, Reason}`, called by the context's process; then
/// `{py_context, Ref, started | {error, Reason}}`, `{py_context, Ref, stuck}` when a job of its should
/// have ended long ago and, when its thread is gone, `{py_context, Ref, ended}`. See [`config`] for
/// the options.
#[rustler::nif]
fn context_start<'a>(env: Env<'a>, reference: Term<'a>, options: Term<'a>) -> NifResult<Term<'a>> {
    let pid = env.pid();
    let config = config(word(pid_term(*pid.as_c_arg())) as u64, options)?;
    if config.quarantine.is_full() {
        let error = Error::Quarantined {
            stuck: config.quarantine.stuck(),
            limit: config.quarantine.limit(),
        };
        // SAFETY: the NIF call's own environment.
        return Ok(unsafe { Term::new(env, error.to_term(env.as_c_arg())) });
    }
    // SAFETY: the reference is a term of this NIF call.
    let reference = unsafe { Saved::new(reference.as_c_arg()) };
    let owner = Arc::new(Process::new(*pid.as_c_arg(), reference));
    let context = Runtime::start(config, owner)
        .map_err(|_| rustler::Error::Term(Box::new(atoms::system_limit())))?;
    let handle = ResourceArc::new(ContextHandle { context });
    // Fails only for a dead process, and this one is running.
    env.monitor(&handle, &pid);
    directory::insert(*pid.as_c_arg(), handle.clone());
    Ok(handle.encode(env))
}

/// A context's options, complete: `#{mode, max_queue, preload, on_caller_down, stuck_after, interrupt_grace,
/// overload, pool}`.
/// Others are none of ours.
fn config(label: u64, options: Term) -> NifResult<Config> {
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
    let orphans = match option(atoms::on_caller_down())?.decode::<Atom>()? {
        finish if finish == atoms::finish() => OnCallerDown::Finish,
        interrupt if interrupt == atoms::interrupt() => OnCallerDown::Interrupt,
        _ => return Err(BAD),
    };
    Ok(Config {
        owner_id: label,
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
        on_caller_down: orphans,
        stuck_after: timeout(atoms::stuck_after())?,
        interrupt_grace: timeout(atoms::interrupt_grace())?,
        overload_wait: match overload.decode::<Atom>() {
            Ok(refuse) if refuse == atoms::refuse() => None,
            _ => match overload.decode::<(Atom, u32)>()? {
                (wait, ms) if wait == atoms::wait() => Some(Duration::from_millis(ms.into())),
                _ => return Err(BAD),
            },
        },
        quarantine: quarantine::ward(option(atoms::pool())?.decode()?, env),
    })
}

/// `context_drain(Handle) -> ok`: what waits is run, then the thread ends.
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

fn death(reason: Term) -> Death {
    // SAFETY: the reason is a term of this NIF call.
    Death::Reason(Arc::new(unsafe { Saved::new(reason.as_c_arg()) }))
}

/// `contexts() -> [pid()]`: of all contexts, those that are starting too.
#[rustler::nif]
fn contexts(env: Env) -> Vec<Term> {
    // SAFETY: pids are immediate terms, valid in any environment.
    directory::pids().into_iter().map(|pid| unsafe { Term::new(env, pid) }).collect()
}

/// `context_info(Ctx) -> map() | undefined`
#[rustler::nif]
fn context_info(env: Env, context: LocalPid) -> Term {
    directory::with(*context.as_c_arg(), |context| info(env, context))
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

fn decode_mode(mode: Atom) -> NifResult<Mode> {
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

// ---------------------------------------------------------------- pools

/// As `py_options` bounds the contexts of a pool.
const MOST_SLOTS: usize = 65_536;
/// More the VM can't have.
const MOST_SCHEDULERS: usize = 1024;

/// `pool_new(Size, Schedulers, Spreads) -> Pool`
#[rustler::nif]
fn pool_new(env: Env, size: usize, schedulers: usize, spreads: bool) -> NifResult<Term> {
    if !(1..=MOST_SLOTS).contains(&size) || !(1..=MOST_SCHEDULERS).contains(&schedulers) {
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

/// `pool_leave(Pool, Slot) -> ok`, called by the context in the slot when it begins to stop.
#[rustler::nif]
fn pool_leave(env: Env, pool: Term, slot: usize) -> NifResult<Atom> {
    let slot = slot.checked_sub(1).ok_or(rustler::Error::BadArg)?;
    decode_pool(pool)?.leave(slot, *env.pid().as_c_arg());
    Ok(atoms::ok())
}

/// `pool_resize(Pool, Size) -> ok`
#[rustler::nif]
fn pool_resize(pool: Term, size: usize) -> NifResult<Atom> {
    let pool = decode_pool(pool)?;
    if !(1..=MOST_SLOTS).contains(&size) {
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
