//! `erlang.send`, `self` and `whereis`.
//!
//! Runs on whatever thread Python code runs on, attached.

use py_runtime::exception::{ErrorClass, lossy_text, raise_as};
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifPid, ErlNifTerm, enif_is_atom, enif_is_pid};

use super::blocking::wait;
use super::current_job::{self, CurrentJob};
use super::names::{check_name, is_name};
use super::state::state;
use super::values::{Raised, not_running, raise, to_python, to_term};
use crate::term::{self, TermEnv, elements, known_atom, local_pid, pid_term, tuple};
use crate::thread::host::outbound;

/// Where a message goes.
enum To {
    Local(ErlNifPid),
    /// Only a process can send there.
    Elsewhere(ErlNifTerm),
    /// An atom or its name.
    Name(ErlNifTerm),
    /// A name or a node that is no atom.
    Nowhere,
}

/// Sends `term` to a process.
///
/// # Safety
/// `module` is live and ours.
pub(super) unsafe fn send(
    py: Attached<'_>,
    module: *mut ffi::PyObject,
    to: &Object,
    term: &Object,
) -> Result<Object, Raised> {
    if !is_receiver(py, to) {
        let usage = "erlang.send() takes a Pid, a registered name, or (name, node)";
        return Err(raise(py, ErrorClass::TypeError, usage));
    }
    current_job::with(|job| {
        let env = TermEnv::new();
        let message = to_term(py, job, env.as_ptr(), term, "the message")?;
        let to_whom = to_term(py, job, env.as_ptr(), to, "the receiver")?;
        // SAFETY: both are terms of our own environment, and no scheduler runs Python.
        let sent = unsafe {
            match receiver(env.as_ptr(), to_whom) {
                To::Local(pid) => Some(send_local(py, job, &env, pid, message)),
                To::Name(name) => registered_pid(env.as_ptr(), name)
                    .map(|pid| send_local(py, job, &env, pid, message)),
                To::Elsewhere(address) => {
                    send_elsewhere(py, job, &env, address, message)?;
                    Some(true)
                }
                To::Nowhere => None,
            }
        };
        match sent {
            Some(true) => Ok(Object::none(py)),
            // SAFETY: the caller vouches for the module.
            Some(false) => Err(unsafe { no_process(py, module, to, "is not alive") }),
            // SAFETY: as above.
            None => Err(unsafe { no_process(py, module, to, "is not a registered name") }),
        }
    })
}

/// # Safety
/// `term` belongs to `env`, which is this thread's.
unsafe fn receiver(env: *mut ErlNifEnv, term: ErlNifTerm) -> To {
    // SAFETY: as the caller vouches.
    unsafe {
        if let Some(pid) = local_pid(env, term) {
            To::Local(pid)
        } else if enif_is_pid(env, term) != 0 {
            To::Elsewhere(term)
        } else if enif_is_atom(env, term) != 0 || term::inspect(env, term).is_some() {
            To::Name(term)
        } else if let [name, node] = elements(env, term) {
            match (known_atom(env, *name), known_atom(env, *node)) {
                (Some(name), Some(node)) => To::Elsewhere(tuple(env, &[name, node])),
                _ => To::Nowhere,
            }
        } else {
            To::Nowhere
        }
    }
}

/// # Safety
/// `name` belongs to `env`, which is this thread's, no scheduler's.
unsafe fn registered_pid(env: *mut ErlNifEnv, name: ErlNifTerm) -> Option<ErlNifPid> {
    // SAFETY: passed on to the caller.
    unsafe { term::registered(known_atom(env, name)?) }
}

/// Sends at once, after all messages that this thread has sent through another process, because
/// they may have the same receiver.
///
/// # Safety
/// `message` belongs to `env`, which is this thread's, no scheduler's.
unsafe fn send_local(
    py: Attached<'_>,
    job: Option<&CurrentJob<'_>>,
    env: &TermEnv,
    pid: ErlNifPid,
    message: ErlNifTerm,
) -> bool {
    if outbound().has_remote_sends() {
        wait(py, job, |stop| outbound().wait_for_remote_sends(stop));
    }
    // SAFETY: as the caller vouches.
    unsafe { term::send(pid, env.as_ptr(), message) }
}

/// Has a process send it, because only a process can.
///
/// # Safety
/// `address` and `message` belong to `env`, which is this thread's, no scheduler's.
unsafe fn send_elsewhere(
    py: Attached<'_>,
    job: Option<&CurrentJob<'_>>,
    env: &TermEnv,
    address: ErlNifTerm,
    message: ErlNifTerm,
) -> Result<(), Raised> {
    if outbound().has_too_many_remote_sends() {
        wait(py, job, |stop| outbound().wait_for_send_capacity(stop));
    }
    // SAFETY: as the caller vouches.
    let sent = unsafe { outbound().send_remote(env, address, message) };
    if sent { Ok(()) } else { Err(not_running(py)) }
}

/// # Safety
/// `module` is live and ours.
unsafe fn no_process(
    py: Attached<'_>,
    module: *mut ffi::PyObject,
    to: &Object,
    what: &str,
) -> Raised {
    let shown = to.repr(py);
    let shown = shown.and_then(|shown| lossy_text(py, &shown)).unwrap_or_default();
    // SAFETY: as the caller vouches; the state holds the class for as long as the module lives.
    let class = unsafe {
        let Some(state) = state(module) else { return Raised };
        Object::from_borrowed(py, state.process_error)
    };
    if let Some(class) = class {
        raise_as(py, &class, &format!("{shown} {what}"));
    }
    Raised
}

/// The process whose job runs on this thread.
pub(super) fn caller(py: Attached<'_>) -> Result<Object, Raised> {
    current_job::with(|job| match job {
        Some(job) => pid_object(py, Some(job), job.scope.request.on_behalf_of()),
        None => {
            let message = "no Erlang process's job runs on this thread: ask for erlang.self() \
                           before you start a thread, and pass it on";
            Err(raise(py, ErrorClass::RuntimeError, message))
        }
    })
}

/// The process that is registered as `name`, or `None`.
pub(super) fn whereis(py: Attached<'_>, name: &Object) -> Result<Object, Raised> {
    check_name(py, name)?;
    current_job::with(|job| {
        let env = TermEnv::new();
        let name = to_term(py, job, env.as_ptr(), name, "the name")?;
        // SAFETY: a term of our own environment, and no scheduler runs Python.
        match unsafe { registered_pid(env.as_ptr(), name) } {
            Some(pid) => pid_object(py, job, pid),
            None => Ok(Object::none(py)),
        }
    })
}

fn pid_object(
    py: Attached<'_>,
    job: Option<&CurrentJob<'_>>,
    pid: ErlNifPid,
) -> Result<Object, Raised> {
    let env = TermEnv::new();
    to_python(py, job, env.as_ptr(), pid_term(pid), "the pid")
}

/// Whether messages can be sent there: a `Pid`, a name, or a pair of names.
fn is_receiver(py: Attached<'_>, to: &Object) -> bool {
    let is_item_name = |index| to.tuple_item(py, index).is_some_and(|item| is_name(py, &item));
    let is_pair = to.tuple_size() == Some(2) && is_item_name(0) && is_item_name(1);
    is_pair || is_name(py, to) || to.has_class_name(py, c"erlang.Pid")
}
