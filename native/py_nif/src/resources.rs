//! What Erlang holds of ours: contexts, namespaces, and (in `pool`) pools.
//!
//! Destructors and down callbacks run on schedulers, without the GIL: they only pass on.

use std::sync::Arc;

use py_runtime::context::{Owner, StartError};
use py_runtime::escape::Escaped;
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifPid, ErlNifTerm, enif_send};
use rustler::{Encoder, Env, LocalPid, Monitor, Resource, ResourceArc, Term};

use crate::directory::{self, Context};
use crate::error::{Death, Error};
use crate::term::{OwnedEnv, Saved, atom, binary, tuple};

/// The native half of a `py_context` process, which it monitors.
pub(crate) struct ContextHandle {
    pub(crate) context: Arc<Context>,
}

// A NIF that panics leaves a context as it found it: its locks don't poison, its counters are
// single words.
impl std::panic::RefUnwindSafe for ContextHandle {}

#[rustler::resource_impl]
impl Resource for ContextHandle {
    const IMPLEMENTS_DOWN: bool = true;

    /// The process is dead. If it had time to say why, the context is closed already and this
    /// changes nothing; else it was killed.
    fn down<'a>(&'a self, _: Env<'a>, pid: LocalPid, _: Monitor) {
        directory::remove(*pid.as_c_arg());
        self.context.kill(Death::Killed);
    }
}

/// Tells the context's process how its thread fares: `{py_context, Ref, Event}`.
pub(crate) struct Process {
    pid: ErlNifPid,
    reference: Saved,
}

// SAFETY: a pid is a plain word.
unsafe impl Send for Process {}

impl Process {
    pub(crate) fn new(pid: ErlNifPid, reference: Saved) -> Self {
        Process { pid, reference }
    }

    fn tell(&self, event: impl FnOnce(*mut ErlNifEnv) -> ErlNifTerm) {
        let env = OwnedEnv::new();
        let ptr = env.as_ptr();
        let event = event(ptr);
        // SAFETY: the environment is ours alone; this is a native thread, as `Owner` promises.
        unsafe {
            let reference = self.reference.copy_to(ptr);
            let message = tuple(ptr, &[atom(ptr, "py_context"), reference, event]);
            enif_send(std::ptr::null_mut(), &raw const self.pid, ptr, message);
        }
    }
}

impl Owner for Process {
    fn started(&self, outcome: Result<(), StartError>) {
        // SAFETY: `tell` gives an environment of this thread.
        self.tell(|env| unsafe {
            match outcome {
                Ok(()) => atom(env, "started"),
                Err(StartError::Python(exception)) => Error::Python(exception).to_term(env),
                Err(StartError::Interpreter(why)) => {
                    let why = binary(env, why.as_bytes());
                    tuple(
                        env,
                        &[atom(env, "error"), tuple(env, &[atom(env, "no_interpreter"), why])],
                    )
                }
            }
        });
    }

    fn ended(&self) {
        // SAFETY: `tell` gives an environment of this thread.
        self.tell(|env| unsafe { atom(env, "ended") });
    }
}

/// A namespace made by `py_context:create_local_env/1`.
pub(crate) struct EnvHandle {
    context: Arc<Context>,
    /// Taken by the destructor only.
    namespace: Option<Escaped>,
}

#[rustler::resource_impl]
impl Resource for EnvHandle {}

impl Drop for EnvHandle {
    fn drop(&mut self) {
        if let Some(namespace) = self.namespace.take() {
            self.context.release(namespace);
        }
    }
}

/// A reference to a new namespace of `context`, as a term of `env`.
pub(crate) fn new_env(
    env: *mut ErlNifEnv,
    context: Arc<Context>,
    namespace: Escaped,
) -> ErlNifTerm {
    let handle = ResourceArc::new(EnvHandle { context, namespace: Some(namespace) });
    // SAFETY: `env` belongs to the current thread.
    handle.encode(unsafe { Env::new(&env, env) }).as_c_arg()
}

/// The namespace that a reference stands for, if it belongs to `context`.
pub(crate) fn env_namespace(
    at: Attached<'_>,
    env: *mut ErlNifEnv,
    term: ErlNifTerm,
    context: u64,
) -> Result<Object, Error> {
    // SAFETY: the term belongs to `env`, which lives as long as its request.
    let term = unsafe { Term::new(Env::new(&env, env), term) };
    let handle: ResourceArc<EnvHandle> =
        term.decode().map_err(|_| Error::WrongContext("not_an_environment"))?;
    match &handle.namespace {
        // SAFETY: the namespace belongs to this context, whose thread this is.
        Some(namespace) if handle.context.id() == context => Ok(unsafe { namespace.borrow(at) }),
        _ => Err(Error::WrongContext("environment")),
    }
}
