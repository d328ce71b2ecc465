//! What the prelude asks about the job that runs on its thread: its namespace, its event loop.

use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifPid, ErlNifTerm};

use super::current_job;
use super::values::Raised;
use crate::request::decode::{Namespace, Request};
use crate::thread::job_scope::JobScope;

/// The globals of the running job, or None; if `likely`, also where its request names none.
pub(super) fn namespace(py: Attached<'_>, likely: bool) -> Object {
    current_job::with(|job| {
        let job = job?;
        named_namespace(job.scope).or_else(|| likely.then(|| likely_namespace(job.scope)))
    })
    .unwrap_or_else(|| Object::none(py))
}

/// Where the running job has its event loop, or None.
pub(super) fn loop_slot(py: Attached<'_>) -> Result<Object, Raised> {
    current_job::with(|job| match job {
        Some(job) => own_loop_slot(job.scope).ok_or(Raised),
        None => Ok(Object::none(py)),
    })
}

/// The namespace that the job's request names. `None`: its request names none.
fn named_namespace(scope: &JobScope<'_>) -> Option<Object> {
    let (term, namespace) = named(scope)?;
    match namespace {
        Namespace::Own => Some(scope.namespace.clone_ref(scope.py)),
        Namespace::Process(pid) => Some(of_process(scope, pid.unwrap_or(scope.request.caller))),
        // SAFETY: the request's terms are read-only; attached to the context's interpreter.
        Namespace::Named => unsafe {
            scope.host.find_namespace(scope.py, scope.request.env, term).ok()
        },
    }
}

/// The namespace of the process that the job works for, or the context's own if it has none here.
fn likely_namespace(scope: &JobScope<'_>) -> Object {
    of_process(scope, scope.request.on_behalf_of())
}

fn of_process(scope: &JobScope<'_>, pid: ErlNifPid) -> Object {
    let known = scope.local.processes.globals(scope.py, pid);
    known.unwrap_or_else(|| scope.namespace.clone_ref(scope.py))
}

/// Where the event loop is of the process that the job works for; the context's own where the
/// process has no namespace, or the request names another. `None`: exception set.
fn own_loop_slot(scope: &JobScope<'_>) -> Option<Object> {
    let local = scope.local;
    let pid = match named(scope) {
        Some((_, Namespace::Process(pid))) => Some(pid.unwrap_or(scope.request.caller)),
        Some(_) => None,
        None => Some(scope.request.on_behalf_of()),
    };
    let of_process = pid.and_then(|pid| local.processes.loop_slot(scope.py, pid));
    of_process.unwrap_or_else(|| local.loop_slot.list(scope.py))
}

fn named(scope: &JobScope<'_>) -> Option<(ErlNifTerm, Namespace)> {
    let (Request::Call { env, .. } | Request::Eval { env, .. } | Request::Exec { env, .. }) =
        Request::decode(scope.request.elements)?
    else {
        return None;
    };
    // SAFETY: the request's terms are read-only.
    Some((env, unsafe { Namespace::decode(scope.request.env, env) }))
}
