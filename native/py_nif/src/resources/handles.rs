//! What Erlang holds of Python's: objects without a term, and namespaces.
//!
//! Destructors run on schedulers, without the GIL: they only pass on.

use std::sync::Arc;

use py_runtime::handle::Handle;
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifTerm};
use rustler::{Encoder, Env, Resource, ResourceArc, Term};

use super::contexts::Context;
use crate::convert::HandleLookup;
use crate::request::call::Call;
use crate::request::error::{Error, ExitReason};

/// A namespace made by `py_context:create_local_env/1`.
pub(crate) struct NamespaceHandle(Handle<Call>);

#[rustler::resource_impl]
impl Resource for NamespaceHandle {}

/// A Python object that Erlang has no term for.
pub(crate) struct ObjectHandle(Handle<Call>);

#[rustler::resource_impl]
impl Resource for ObjectHandle {}

// Looking at either changes nothing.
impl std::panic::RefUnwindSafe for NamespaceHandle {}
impl std::panic::RefUnwindSafe for ObjectHandle {}

impl NamespaceHandle {
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
pub(crate) fn new_namespace(env: *mut ErlNifEnv, namespace: Handle<Call>) -> ErlNifTerm {
    let handle = ResourceArc::new(NamespaceHandle(namespace));
    // SAFETY: `env` belongs to the current thread.
    handle.encode(unsafe { Env::new(&env, env) }).as_c_arg()
}

/// The namespace that a reference stands for, if it belongs to `context`.
pub(crate) fn namespace(
    py: Attached<'_>,
    env: *mut ErlNifEnv,
    term: ErlNifTerm,
    context: &Arc<Context>,
) -> Result<Object, Error> {
    // SAFETY: the term belongs to `env`, which lives as long as its request.
    let term = unsafe { Term::new(Env::new(&env, env), term) };
    let NamespaceHandle(held) = &*term
        .decode::<ResourceArc<NamespaceHandle>>()
        .map_err(|_| Error::WrongContext("not_an_environment"))?;
    if !Arc::ptr_eq(held.context(), context) {
        return Err(Error::WrongContext("environment"));
    }
    // SAFETY: the namespace belongs to this context, whose thread this is.
    unsafe { held.get(py) }.ok_or(Error::ContextDied(ExitReason::ThreadEnded))
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

/// The object behind a handle.
///
/// # Safety
/// `term` belongs to `env`, and the thread is attached to the interpreter of `context`.
pub(crate) unsafe fn find_object(
    py: Attached<'_>,
    context: Option<&Arc<Context>>,
    env: *mut ErlNifEnv,
    term: ErlNifTerm,
) -> HandleLookup {
    // SAFETY: as the caller vouches.
    let term = unsafe { Term::new(Env::new(&env, env), term) };
    let Ok(handle) = term.decode::<ResourceArc<ObjectHandle>>() else {
        return HandleLookup::NotAHandle;
    };
    let ObjectHandle(held) = &*handle;
    if !context.is_some_and(|context| held.is_usable_in(context)) {
        return HandleLookup::OtherInterpreter;
    }
    // SAFETY: it is at home in the interpreter that this thread is attached to.
    unsafe { held.get(py) }.map_or(HandleLookup::Gone, HandleLookup::Object)
}
