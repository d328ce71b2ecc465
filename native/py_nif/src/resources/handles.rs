//! What Erlang holds of Python's: objects without a term, and namespaces.
//!
//! Destructors run on schedulers, without the GIL: they only pass on.

use std::sync::Arc;

use py_runtime::hold::Held;
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifTerm};
use rustler::{Encoder, Env, Resource, ResourceArc, Term};

use super::contexts::Context;
use crate::request::call::Call;
use crate::request::error::{Death, Error};

/// A namespace made by `py_context:create_local_env/1`.
pub(crate) struct EnvHandle(Held<Call>);

#[rustler::resource_impl]
impl Resource for EnvHandle {}

/// A Python object that Erlang has no term for.
pub(crate) struct ObjectHandle(Held<Call>);

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
pub(crate) fn new_env(env: *mut ErlNifEnv, namespace: Held<Call>) -> ErlNifTerm {
    let handle = ResourceArc::new(EnvHandle(namespace));
    // SAFETY: `env` belongs to the current thread.
    handle.encode(unsafe { Env::new(&env, env) }).as_c_arg()
}

/// The namespace that a reference stands for, if it belongs to `context`.
pub(crate) fn env_namespace(
    at: Attached<'_>,
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
    unsafe { held.get(at) }.ok_or(Error::ContextDied(Death::ThreadEnded))
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
    let handle = ResourceArc::new(ObjectHandle(Held::new(context, object)?));
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
    at: Attached<'_>,
    context: Option<&Arc<Context>>,
    env: *mut ErlNifEnv,
    term: ErlNifTerm,
) -> Found {
    // SAFETY: as the caller vouches.
    let term = unsafe { Term::new(Env::new(&env, env), term) };
    let Ok(handle) = term.decode::<ResourceArc<ObjectHandle>>() else { return Found::NoHandle };
    let ObjectHandle(held) = &*handle;
    if !context.is_some_and(|context| held.is_at_home_in(context)) {
        return Found::Elsewhere;
    }
    // SAFETY: it is at home in the interpreter that this thread is attached to.
    unsafe { held.get(at) }.map_or(Found::Gone, Found::Object)
}
