//! The NIFs that submit, cancel and interrupt requests.
//!
//! `submit_sync/3` and `submit/2` are on the hot path and written against the raw interface.

use py_runtime::context::SubmitError;
use py_runtime::reply_state::Cancel;
use rustler::sys::{
    ErlNifEnv, ErlNifPid, ErlNifTerm, c_int, enif_get_uint64, enif_make_badarg, enif_make_uint64,
    enif_self,
};
use rustler::{Atom, Encoder, Env, LocalPid, NifResult, ResourceArc, Term};

use std::time::Duration;

use super::copying::{self, Size};
use crate::direct::call::DirectCall;
use crate::request::call::{Call, ReplyMode};
use crate::request::error::{Error, ExitReason};
use crate::resources::contexts::{self, Context};
use crate::resources::handles::{NamespaceHandle, ObjectHandle};
use crate::resources::request_id::{CancelOutcome, ProcessRef, RequestId};
use crate::term::{ProcessId, elements, from_bits, local_pid, pid_term, to_bits, tuple};

mod atoms {
    rustler::atoms! { ok, undefined, r#true = "true", sending, sent, not_running, spin }
}

/// `submit_sync(Ctx, Request, Timeout) -> Seq | {spin, Seq} | {error, Reason} | Done`, by a caller
/// that waits for the reply. `spin`: the context has no other caller, so that polling for the reply
/// may be worth it. `Done`: the request has been run, on this scheduler, see [`DirectCall`]: `{ok,
/// Value}`, `{done, Result}` or `{flush, Result}`. The timeout, in ms, is for those only.
extern "C" fn submit_sync(env: *mut ErlNifEnv, argc: c_int, argv: *const ErlNifTerm) -> ErlNifTerm {
    let submit = |context: &Context, call: Call| {
        let spin = context.note_caller(to_bits(pid_term(call.caller())));
        call.let_caller_make_maps();
        context.submit(call).map(|seq| (seq, spin))
    };
    // SAFETY: the VM calls this with its three arguments and the calling process's environment.
    unsafe {
        if let Some(done) = run_direct(env, argv) {
            return done;
        }
        let size = match copying::elsewhere(
            env,
            c"submit_sync",
            submit_sync,
            (argc, argv),
            *argv.add(1),
        ) {
            Ok(size) => size,
            Err(moved) => return moved,
        };
        submit_by(env, argv, size, submit, |(seq, spin)| match spin {
            true => tuple(env, &[atoms::spin().as_c_arg(), enif_make_uint64(env, seq)]),
            false => enif_make_uint64(env, seq),
        })
    }
}

/// How much there is in arguments that a scheduler reads, as [`copying`] weighs it.
const MAX_DIRECT_WEIGHT: u32 = 1000;

/// Runs a request on this scheduler, if it may and can. `None`: it goes to the queue.
///
/// # Safety
/// `env` is that of the running NIF call, `argv` its three arguments.
#[inline]
unsafe fn run_direct(env: *mut ErlNifEnv, argv: *const ErlNifTerm) -> Option<ErlNifTerm> {
    // SAFETY: passed on to the caller.
    unsafe {
        let (context, request, timeout) = (*argv, *argv.add(1), *argv.add(2));
        let elements = elements(env, request);
        let call = DirectCall::of(env, elements, caller(env))?;
        if !copying::is_light(env, request, MAX_DIRECT_WEIGHT) {
            return None;
        }
        let mut ms = 0;
        let timeout =
            (enif_get_uint64(env, timeout, &raw mut ms) != 0).then(|| Duration::from_millis(ms));
        contexts::lookup(local_pid(env, context)?, |context| call.try_run(context, timeout))?
    }
}

/// `submit(Ctx, Request) -> Seq | {error, Reason}`
extern "C" fn submit(env: *mut ErlNifEnv, argc: c_int, argv: *const ErlNifTerm) -> ErlNifTerm {
    // SAFETY: the VM calls this with its two arguments and the calling process's environment.
    unsafe {
        let size = match copying::elsewhere(env, c"submit", submit, (argc, argv), *argv.add(1)) {
            Ok(size) => size,
            Err(moved) => return moved,
        };
        submit_by(env, argv, size, Context::submit, |seq| enif_make_uint64(env, seq))
    }
}

/// `submit_next(Ctx, Request) -> Seq | {error, Reason}`, of a map's next part: its first one has
/// been accepted, so that the bound of the queue doesn't apply.
extern "C" fn submit_next(env: *mut ErlNifEnv, argc: c_int, argv: *const ErlNifTerm) -> ErlNifTerm {
    // SAFETY: the VM calls this with its two arguments and the calling process's environment.
    unsafe {
        let size = match copying::elsewhere(
            env,
            c"submit_next",
            submit_next,
            (argc, argv),
            *argv.add(1),
        ) {
            Ok(size) => size,
            Err(moved) => return moved,
        };
        submit_by(env, argv, size, Context::submit_next, |seq| enif_make_uint64(env, seq))
    }
}

rustler::codegen_runtime::inventory::submit!(rustler::Nif {
    name: c"submit_next".as_ptr(),
    arity: 2,
    flags: 0,
    raw_func: submit_next,
});

rustler::codegen_runtime::inventory::submit!(rustler::Nif {
    name: c"submit_sync".as_ptr(),
    arity: 3,
    flags: 0,
    raw_func: submit_sync,
});

rustler::codegen_runtime::inventory::submit!(rustler::Nif {
    name: c"submit".as_ptr(),
    arity: 2,
    flags: 0,
    raw_func: submit,
});

/// # Safety
/// `env` is that of the running NIF call, `argv` its two arguments.
pub(super) unsafe fn submit_by<T>(
    env: *mut ErlNifEnv,
    argv: *const ErlNifTerm,
    size: Size,
    submit: impl FnOnce(&Context, Call) -> Result<T, SubmitError<Call>>,
    answer: impl FnOnce(T) -> ErlNifTerm,
) -> ErlNifTerm {
    // SAFETY: passed on to the caller.
    unsafe {
        let (context, request) = (*argv, *argv.add(1));
        if !is_request(env, request) {
            return enif_make_badarg(env);
        }
        let Some(pid) = local_pid(env, context) else {
            return Error::ContextDied(ExitReason::NoProc).to_term(env);
        };
        let submitted = contexts::lookup(pid, |context| {
            let call = Call::new(caller(env), request, size == Size::Small, contexts::envs(pid));
            submit(context, call).map_err(|refused| refusal(&refused, context))
        });
        match submitted {
            Some(Ok(taken)) => answer(taken),
            Some(Err(error)) => error.to_term(env),
            None => Error::ContextDied(ExitReason::NoProc).to_term(env),
        }
    }
}

/// Whether a term begins as all requests do, with an operation, a reference and flags: without the
/// reference there would be no reply. The rest is checked on the context's thread.
///
/// # Safety
/// `term` belongs to `env`, that of the running NIF call.
unsafe fn is_request(env: *mut ErlNifEnv, term: ErlNifTerm) -> bool {
    // SAFETY: passed on to the caller.
    unsafe { elements(env, term) }.len() >= 3
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
        SubmitError::Quarantined(_) => Error::quarantined(context.quarantine()),
        SubmitError::Closed(_) => Error::ContextDied(ExitReason::NoProc),
    }
}

/// `submit_async(Ctx, Request) -> RequestId | {error, Reason}`; the reply is
/// `{py_result, RequestId, Result}`.
extern "C" fn submit_async(
    env: *mut ErlNifEnv,
    argc: c_int,
    argv: *const ErlNifTerm,
) -> ErlNifTerm {
    let nif = submit_async;
    // SAFETY: the VM calls this with its two arguments and the calling process's environment.
    unsafe {
        let size = match copying::elsewhere(env, c"submit_async", nif, (argc, argv), *argv.add(1)) {
            Ok(size) => size,
            Err(moved) => return moved,
        };
        copying::body(env, (argc, argv), |env, arguments| {
            let [context, request] = arguments else { return Err(rustler::Error::BadArg) };
            let mode = |id: Term| ReplyMode::Message(id.as_c_arg());
            submit_with_mode(env, context.decode()?, *request, mode, size)
        })
    }
}

rustler::codegen_runtime::inventory::submit!(rustler::Nif {
    name: c"submit_async".as_ptr(),
    arity: 2,
    flags: 0,
    raw_func: submit_async,
});

/// `submit_cast(Ctx, Request, Reports) -> RequestId | {error, Reason}`. If the request fails,
/// `{py_cast, Caller, Request, Error}` is sent to the process that is registered as `Reports` then.
extern "C" fn submit_cast(env: *mut ErlNifEnv, argc: c_int, argv: *const ErlNifTerm) -> ErlNifTerm {
    // SAFETY: the VM calls this with its three arguments and the calling process's environment.
    unsafe {
        let size = match copying::elsewhere(
            env,
            c"submit_cast",
            submit_cast,
            (argc, argv),
            *argv.add(1),
        ) {
            Ok(size) => size,
            Err(moved) => return moved,
        };
        copying::body(env, (argc, argv), |env, arguments| {
            let [context, request, reports] = arguments else {
                return Err(rustler::Error::BadArg);
            };
            let reports = reports.decode::<Atom>()?.as_c_arg();
            let mode = |_: Term| ReplyMode::ErrorsTo(reports);
            submit_with_mode(env, context.decode()?, *request, mode, size)
        })
    }
}

rustler::codegen_runtime::inventory::submit!(rustler::Nif {
    name: c"submit_cast".as_ptr(),
    arity: 3,
    flags: 0,
    raw_func: submit_cast,
});

fn submit_with_mode<'a>(
    env: Env<'a>,
    context: LocalPid,
    request: Term<'a>,
    mode: impl FnOnce(Term<'a>) -> ReplyMode,
    size: Size,
) -> NifResult<Term<'a>> {
    // SAFETY: a term of this NIF call.
    if !unsafe { is_request(env.as_c_arg(), request.as_c_arg()) } {
        return Err(rustler::Error::BadArg);
    }
    let id = ResourceArc::new(RequestId::default());
    let reference = id.encode(env);
    let mode = mode(reference);
    let (is_small, envs) = (size == Size::Small, contexts::envs(*context.as_c_arg()));
    // SAFETY: the request and its id are terms of this NIF call.
    let call = unsafe {
        let caller = caller(env.as_c_arg());
        Call::with_reply_mode(caller, request.as_c_arg(), mode, is_small, envs)
    };
    let submitted = contexts::lookup(*context.as_c_arg(), |context| {
        let seq = context.submit(call.clone()).map_err(|refused| refusal(&refused, context))?;
        id.bind(context, seq, call.downgrade());
        Ok(())
    });
    match submitted.unwrap_or(Err(Error::ContextDied(ExitReason::NoProc))) {
        Ok(()) => Ok(reference),
        // SAFETY: the NIF call's own environment.
        Err(error) => Ok(unsafe { Term::new(env, error.to_term(env.as_c_arg())) }),
    }
}

/// `process_ref(Pid) -> reference()`: a reference that stands for the process.
#[rustler::nif]
fn process_ref(pid: LocalPid) -> ResourceArc<ProcessRef> {
    ResourceArc::new(ProcessRef(ProcessId::new(*pid.as_c_arg())))
}

/// `process_of_ref(ProcessRef) -> pid()`
#[rustler::nif]
fn process_of_ref(process: ResourceArc<ProcessRef>) -> LocalPid {
    LocalPid::from_c_arg(process.0.pid())
}

/// `cancel_request(RequestId) -> true | sending | sent`; `true`: no message will come.
#[rustler::nif]
fn cancel_request(id: ResourceArc<RequestId>) -> Atom {
    match id.cancel() {
        CancelOutcome::Cancelled => atoms::r#true(),
        CancelOutcome::Replying => atoms::sending(),
        CancelOutcome::Replied => atoms::sent(),
    }
}

/// `request_is_settled(RequestId) -> boolean()`
#[rustler::nif]
fn request_is_settled(id: ResourceArc<RequestId>) -> bool {
    id.is_settled()
}

/// `cancel(Ctx, Seq) -> boolean()`; `true`: no reply will come.
#[rustler::nif]
fn cancel(context: LocalPid, seq: u64) -> bool {
    let outcome = contexts::lookup(*context.as_c_arg(), |context| context.cancel(seq));
    // A context that is gone has answered, or is about to.
    matches!(outcome, Some(Cancel::Waiting | Cancel::Running))
}

/// `interrupt(Ctx) -> ok | not_running | undefined`
#[rustler::nif]
fn interrupt(context: LocalPid) -> Atom {
    match contexts::lookup(*context.as_c_arg(), Context::interrupt) {
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
    let namespace =
        || Some(term.decode::<ResourceArc<NamespaceHandle>>().ok()?.context().owner_id());
    encode_owner(env, object().or_else(namespace))
}

fn encode_owner(env: Env, label: Option<u64>) -> Term {
    match label {
        // SAFETY: a context's owner_id is the word of a local pid.
        Some(label) => unsafe { Term::new(env, from_bits(label as usize)) },
        None => atoms::undefined().encode(env),
    }
}
