//! What Erlang holds of ours: contexts, namespaces, and (in `pool`) pools.
//!
//! Destructors and down callbacks run on schedulers, without the GIL: they only pass on.

use std::sync::Arc;

use py_runtime::context::{Owner, StartError};
use py_runtime::handle::Handle;
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifPid, ErlNifTerm, enif_send};
use rustler::{Encoder, Env, LocalPid, Monitor, Resource, ResourceArc, Term};

use crate::call::Call;
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

/// A process that is killed while it gets the handle may take the monitor along unfired: its heap went
/// first. A context that nobody has a handle on ends all the same. Where one has been replaced, that
/// tells a stuck thread again what it has been told.
impl Drop for ContextHandle {
    fn drop(&mut self) {
        self.context.kill(Death::Killed);
    }
}

/// Tells the context's process how its thread fares: `{py_context, Ref, Event}`.
#[derive(Debug)]
pub(crate) struct Process {
    pid: ErlNifPid,
    reference: Saved,
}

// SAFETY: a pid is a plain word.
unsafe impl Send for Process {}
// SAFETY: as above.
unsafe impl Sync for Process {}

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

    fn stuck(&self) {
        // SAFETY: `tell` gives an environment of this thread.
        self.tell(|env| unsafe { atom(env, "stuck") });
    }

    fn ended(&self) {
        // SAFETY: `tell` gives an environment of this thread.
        self.tell(|env| unsafe { atom(env, "ended") });
    }
}

/// A namespace made by `py_context:create_local_env/1`.
pub(crate) struct EnvHandle(Handle<Call>);

#[rustler::resource_impl]
impl Resource for EnvHandle {}

/// A Python object that Erlang has no term for.
pub(crate) struct ObjectHandle(Handle<Call>);

#[rustler::resource_impl]
impl Resource for ObjectHandle {}

// Looking at either changes nothing.
impl std::panic::RefUnwindSafe for EnvHandle {}
impl std::panic::RefUnwindSafe for ObjectHandle {}

impl EnvHandle {
    /// The context that the namespace is in.
    pub(crate) fn context(&self) -> &Arc<Context> {
        self.0.context()
    }
}

impl ObjectHandle {
    /// The context that the object is in.
    pub(crate) fn context(&self) -> &Arc<Context> {
        self.0.context()
    }
}

/// A reference to a new namespace, as a term of `env`.
pub(crate) fn new_env(env: *mut ErlNifEnv, namespace: Handle<Call>) -> ErlNifTerm {
    let handle = ResourceArc::new(EnvHandle(namespace));
    // SAFETY: `env` belongs to the current thread.
    handle.encode(unsafe { Env::new(&env, env) }).as_c_arg()
}

/// The namespace that a reference stands for, if it belongs to `context`.
pub(crate) fn env_namespace(
    py: Attached<'_>,
    env: *mut ErlNifEnv,
    term: ErlNifTerm,
    context: &Arc<Context>,
) -> Result<Object, Error> {
    // SAFETY: the term belongs to `env`, which lives as long as its request.
    let term = unsafe { Term::new(Env::new(&env, env), term) };
    let EnvHandle(held) = &*term
        .decode::<ResourceArc<EnvHandle>>()
        .map_err(|_| Error::WrongContext("not_an_environment"))?;
    if !Arc::ptr_eq(held.context(), context) {
        return Err(Error::WrongContext("environment"));
    }
    // SAFETY: the namespace belongs to this context, whose thread this is.
    unsafe { held.get(py) }.ok_or(Error::ContextDied(Death::ThreadEnded))
}

/// A handle on `object`, as a term of `env`. `None`: the context has ended.
///
/// # Safety
/// `env` belongs to the current thread, which is attached to the context's interpreter.
pub(crate) unsafe fn new_handle(
    env: *mut ErlNifEnv,
    context: &Arc<Context>,
    object: Object,
) -> Option<ErlNifTerm> {
    let handle = ResourceArc::new(ObjectHandle(Handle::new(context, object)?));
    // SAFETY: as the caller vouches.
    Some(handle.encode(unsafe { Env::new(&env, env) }).as_c_arg())
}

/// What became of looking for the object behind a handle.
pub(crate) enum Found {
    /// Here it is.
    Object(Object),
    /// The term is no handle.
    NoHandle,
    /// It is in another interpreter.
    Elsewhere,
    /// Its context has ended.
    Gone,
}

/// The object behind a handle.
///
/// # Safety
/// `term` belongs to `env`, and the thread is attached to the interpreter of `context`.
pub(crate) unsafe fn handle_object(
    py: Attached<'_>,
    context: Option<&Arc<Context>>,
    env: *mut ErlNifEnv,
    term: ErlNifTerm,
) -> Found {
    // SAFETY: as the caller vouches.
    let term = unsafe { Term::new(Env::new(&env, env), term) };
    let Ok(handle) = term.decode::<ResourceArc<ObjectHandle>>() else { return Found::NoHandle };
    let ObjectHandle(held) = &*handle;
    if !context.is_some_and(|context| held.is_usable_in(context)) {
        return Found::Elsewhere;
    }
    // SAFETY: it is at home in the interpreter that this thread is attached to.
    unsafe { held.get(py) }.map_or(Found::Gone, Found::Object)
}
