//! One request on its way through, and what all operations need.

use std::sync::Arc;

use py_runtime::exception::{Exception, TracebacksWanted};
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifPid, ErlNifTerm};

use crate::convert::Converter;
use crate::request::decode::Namespace;
use crate::request::error::{ConvertError, Death, Error};
use crate::request::flags::{Results, Values};
use crate::resources::contexts::Context;
use crate::resources::handles::{self, Found};
use crate::settings;
use crate::thread::local::Local;

/// One request on its way through.
pub(super) struct Run<'a, 's> {
    pub(super) at: Attached<'s>,
    pub(super) context: &'s Arc<Context>,
    pub(super) namespace: &'s Object,
    pub(super) local: &'a Local,
    pub(super) caller: ErlNifPid,
    /// How the caller wants terms.
    pub(super) values: Values,
    /// Where the request's terms live.
    pub(super) env: *mut ErlNifEnv,
    pub(super) results: Results,
}

impl Run<'_, '_> {
    /// The object behind a handle.
    pub(super) fn object(&self, term: ErlNifTerm) -> Result<Object, Error> {
        // SAFETY: the request's terms are read-only; attached to the context's interpreter.
        match unsafe { handles::handle_object(self.at, Some(self.context), self.env, term) } {
            Found::Object(object) => Ok(object),
            Found::NoHandle => Err(Error::Convert(ConvertError::Unconvertible {
                path: "object".into(),
                what: "not a handle on a Python object".into(),
            })),
            Found::Elsewhere => Err(ConvertError::WrongContext.into()),
            Found::Gone => Err(Error::ContextDied(Death::NoProc)),
        }
    }

    pub(super) fn which(&self, env: ErlNifTerm) -> Namespace {
        // SAFETY: the request's terms are read-only.
        unsafe { Namespace::decode(self.env, env) }
    }

    /// The namespace in use: the context's own, the calling process's, or the one that the request
    /// names.
    pub(super) fn namespace(&mut self, env: ErlNifTerm) -> Result<Object, Error> {
        match self.which(env) {
            Namespace::Own => Ok(self.namespace.clone_ref(self.at)),
            Namespace::Process(pid) => {
                let processes = &self.local.processes;
                let pid = pid.unwrap_or(self.caller);
                Ok(processes.namespace(self.at, self.context, self.namespace, pid)?)
            }
            Namespace::Named => handles::env_namespace(self.at, self.env, env, self.context),
        }
    }

    /// The term for a result, as the caller wants it.
    ///
    /// # Safety
    /// `reply_env` is a process-independent environment that nobody else uses meanwhile.
    pub(super) unsafe fn result(
        &self,
        reply_env: *mut ErlNifEnv,
        value: &Object,
    ) -> Result<ErlNifTerm, Error> {
        if self.results == Results::Object {
            let value = value.clone_ref(self.at);
            // SAFETY: passed on to the caller.
            return Ok(unsafe { self.converter().to_handle(reply_env, value) }?);
        }
        let plainly = self.results == Results::Terms;
        // SAFETY: passed on to the caller.
        Ok(unsafe { self.converter().to_term(reply_env, value, plainly) }?)
    }

    /// A handle on an object, as a reference, in `reply_env`, which is this thread's alone.
    pub(super) fn handle(
        &self,
        reply_env: *mut ErlNifEnv,
        object: Object,
    ) -> Result<ErlNifTerm, Error> {
        // SAFETY: the environment is this thread's alone; attached to the context's interpreter.
        let handle = unsafe { handles::new_handle(reply_env, self.context, object) };
        handle.ok_or(Error::ContextDied(Death::ThreadEnded))
    }

    pub(super) fn converter(&self) -> Converter<'_> {
        Converter {
            at: self.at,
            types: &self.local.types,
            context: Some(self.context),
            values: self.values,
            max_depth: settings::max_depth(),
        }
    }

    pub(super) fn or_raised<T>(&mut self, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| {
            if TracebacksWanted::now() {
                // A traceback that is made while this is done goes without.
                if let Ok(cache) = self.local.code.try_borrow() {
                    cache.show_lines(self.at);
                }
            }
            Exception::take(self.at).into()
        })
    }
}
