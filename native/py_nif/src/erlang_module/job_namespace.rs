//! What the prelude asks about the job that runs on its thread: its namespace, its event loop.

use py_runtime::job::Scope;
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifPid, ErlNifTerm};

use super::current_job;
use super::values::Raised;
use crate::request::call::Call;
use crate::request::decode::{Namespace, Request};
use crate::resources::handles;

/// The globals of the running job, or None; if `likely`, also where its request names none.
pub(super) fn namespace(at: Attached<'_>, likely: bool) -> Object {
    current_job::with(|frame| {
        let frame = frame?;
        named_namespace(frame.call, frame.scope)
            .or_else(|| likely.then(|| likely_namespace(frame.call, frame.scope)))
    })
    .unwrap_or_else(|| Object::none(at))
}

/// Where the running job has its event loop, or None.
pub(super) fn loop_slot(at: Attached<'_>) -> Result<Object, Raised> {
    current_job::with(|frame| match frame {
        Some(frame) => own_loop_slot(frame.call, frame.scope).ok_or(Raised),
        None => Ok(Object::none(at)),
    })
}

/// The namespace that the job's request names. `None`: its request names none.
fn named_namespace(call: &Call, scope: &Scope<'_, Call>) -> Option<Object> {
    let (term, namespace) = named(call)?;
    match namespace {
        Namespace::Own => Some(scope.namespace.clone_ref(scope.at)),
        Namespace::Process(pid) => Some(of_process(scope, pid.unwrap_or(call.caller()))),
        Namespace::Named => handles::env_namespace(scope.at, call.env(), term, scope.context).ok(),
    }
}

/// The namespace of the process that the job works for, or the context's own if it has none here.
fn likely_namespace(call: &Call, scope: &Scope<'_, Call>) -> Object {
    of_process(scope, call.principal())
}

fn of_process(scope: &Scope<'_, Call>, pid: ErlNifPid) -> Object {
    let known = scope.local.processes.globals(scope.at, pid);
    known.unwrap_or_else(|| scope.namespace.clone_ref(scope.at))
}

/// Where the event loop is of the process that the job works for; the context's own where the
/// process has no namespace, or the request names another. `None`: exception set.
fn own_loop_slot(call: &Call, scope: &Scope<'_, Call>) -> Option<Object> {
    let local = scope.local;
    let pid = match named(call) {
        Some((_, Namespace::Process(pid))) => Some(pid.unwrap_or(call.caller())),
        Some(_) => None,
        None => Some(call.principal()),
    };
    let of_process = pid.and_then(|pid| local.processes.loop_slot(scope.at, pid));
    of_process.unwrap_or_else(|| local.event_loop.list(scope.at))
}

fn named(call: &Call) -> Option<(ErlNifTerm, Namespace)> {
    let (Request::Call { env, .. } | Request::Eval { env, .. } | Request::Exec { env, .. }) =
        Request::decode(call.elements())?
    else {
        return None;
    };
    // SAFETY: the request's terms are read-only.
    Some((env, unsafe { Namespace::decode(call.env(), env) }))
}
