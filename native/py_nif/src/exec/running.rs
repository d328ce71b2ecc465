//! What the job that runs has, for code that asks while it runs: a namespace, an event loop.

use py_runtime::job::Scope;
use py_runtime::object::Object;
use rustler::sys::{ErlNifPid, ErlNifTerm};

use crate::call::Call;
use crate::request::{Namespace, Request};
use crate::resources;

/// The namespace that the job's request names. `None`: its request names none.
pub(crate) fn namespace(call: &Call, scope: &Scope<'_, Call>) -> Option<Object> {
    let (term, namespace) = named(call)?;
    match namespace {
        Namespace::Own => Some(scope.namespace.clone_ref(scope.py)),
        Namespace::Process(pid) => Some(of_process(scope, pid.unwrap_or(call.caller()))),
        Namespace::Named => {
            resources::env_namespace(scope.py, call.env(), term, scope.context).ok()
        }
    }
}

/// The namespace of the process that the job works for, or the context's own if it has none here.
pub(crate) fn likely_namespace(call: &Call, scope: &Scope<'_, Call>) -> Object {
    of_process(scope, call.principal())
}

fn of_process(scope: &Scope<'_, Call>, pid: ErlNifPid) -> Object {
    let known = scope.local.processes.globals(scope.py, pid);
    known.unwrap_or_else(|| scope.namespace.clone_ref(scope.py))
}

/// Where the event loop is of the process that the job works for; the context's own where the
/// process has no namespace, or the request names another. `None`: exception set.
pub(crate) fn loop_slot(call: &Call, scope: &Scope<'_, Call>) -> Option<Object> {
    let local = scope.local;
    let pid = match named(call) {
        Some((_, Namespace::Process(pid))) => Some(pid.unwrap_or(call.caller())),
        Some(_) => None,
        None => Some(call.principal()),
    };
    let of_process = pid.and_then(|pid| local.processes.loop_slot(scope.py, pid));
    of_process.unwrap_or_else(|| local.event_loop.list(scope.py))
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
