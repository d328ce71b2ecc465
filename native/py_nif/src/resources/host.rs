//! A context as the code on its thread sees it.

use std::sync::Arc;

use py_runtime::handle::Handle;
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifTerm};

use super::contexts::Context;
use super::process_monitor::ContextMonitor;
use super::{handles, shared_bytes};
use crate::convert::{HandleLookup, Handles, NoHandle};
use crate::request::error::Error;
use crate::term::from_bits;
use crate::thread::host::{Host, MonitorProcesses};

impl Handles for Arc<Context> {
    unsafe fn new_handle(
        &self,
        env: *mut ErlNifEnv,
        object: Object,
    ) -> Result<ErlNifTerm, NoHandle> {
        // SAFETY: passed on to the caller.
        unsafe { handles::new_handle(env, self, object) }.ok_or(NoHandle::ContextEnded)
    }

    unsafe fn find_object(
        &self,
        py: Attached<'_>,
        env: *mut ErlNifEnv,
        term: ErlNifTerm,
    ) -> HandleLookup {
        // SAFETY: passed on to the caller.
        unsafe { handles::find_object(py, Some(self), env, term) }
    }

    unsafe fn share(
        &self,
        py: Attached<'_>,
        env: *mut ErlNifEnv,
        object: &Object,
        at_least: usize,
    ) -> Option<ErlNifTerm> {
        // SAFETY: passed on to the caller.
        unsafe { shared_bytes::share(py, self, env, object, at_least) }
    }
}

impl Host for Arc<Context> {
    fn owner(&self) -> ErlNifTerm {
        // SAFETY: a context's owner_id is the word of a local pid.
        unsafe { from_bits(self.owner_id() as usize) }
    }

    fn is_waited_for(&self) -> bool {
        Context::is_waited_for(self)
    }

    unsafe fn new_namespace(&self, env: *mut ErlNifEnv, namespace: Object) -> Option<ErlNifTerm> {
        Some(handles::new_namespace(env, Handle::new(self, namespace)?))
    }

    unsafe fn find_namespace(
        &self,
        py: Attached<'_>,
        env: *mut ErlNifEnv,
        term: ErlNifTerm,
    ) -> Result<Object, Error> {
        handles::namespace(py, env, term, self)
    }

    fn process_monitor(&self) -> Box<dyn MonitorProcesses> {
        Box::new(ContextMonitor(Arc::clone(self)))
    }
}

/// A thread that is no context's has no handles, but knows those of others.
pub(crate) struct NoContext;

impl Handles for NoContext {
    unsafe fn new_handle(&self, _: *mut ErlNifEnv, object: Object) -> Result<ErlNifTerm, NoHandle> {
        Err(NoHandle::NoContext(object))
    }

    unsafe fn find_object(
        &self,
        py: Attached<'_>,
        env: *mut ErlNifEnv,
        term: ErlNifTerm,
    ) -> HandleLookup {
        // SAFETY: passed on to the caller.
        unsafe { handles::find_object(py, None, env, term) }
    }

    unsafe fn share(
        &self,
        _: Attached<'_>,
        _: *mut ErlNifEnv,
        _: &Object,
        _: usize,
    ) -> Option<ErlNifTerm> {
        None
    }
}
