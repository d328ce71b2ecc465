//! One request on its way through, and what all operations need.

use py_runtime::exception::{Exception, TracebacksWanted};
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifTerm};

use crate::convert::{Converter, HandleLookup};
use crate::request::decode::Namespace;
use crate::request::error::{ConvertError, Error, ExitReason};
use crate::request::flags::{Results, Values};
use crate::settings;
use crate::thread::job_scope::JobScope;
use crate::thread::local::Local;

/// One request on its way through.
pub(super) struct Executor<'a> {
    pub(super) job: &'a JobScope<'a>,
    pub(super) py: Attached<'a>,
    pub(super) local: &'a Local,
    /// Where the request's terms live.
    pub(super) env: *mut ErlNifEnv,
    /// How the caller wants terms.
    pub(super) values: Values,
    pub(super) results: Results,
}

impl<'a> Executor<'a> {
    pub(super) fn new(job: &'a JobScope<'a>, values: Values, results: Results) -> Self {
        Executor { job, py: job.py, local: job.local, env: job.request.env, values, results }
    }

    /// The object behind a handle.
    pub(super) fn object(&self, term: ErlNifTerm) -> Result<Object, Error> {
        // SAFETY: the request's terms are read-only; attached to the context's interpreter.
        match unsafe { self.job.host.find_object(self.py, self.env, term) } {
            HandleLookup::Object(object) => Ok(object),
            HandleLookup::NotAHandle => Err(Error::Convert(ConvertError::Unconvertible {
                path: "object".into(),
                what: "not a handle on a Python object".into(),
            })),
            HandleLookup::OtherInterpreter => Err(ConvertError::WrongContext.into()),
            HandleLookup::Gone => Err(Error::ContextDied(ExitReason::NoProc)),
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
            Namespace::Own => Ok(self.job.namespace.clone_ref(self.py)),
            Namespace::Process(pid) => {
                let processes = &self.local.processes;
                let pid = pid.unwrap_or(self.job.request.caller);
                Ok(processes.namespace(self.py, self.job.host, self.job.namespace, pid)?)
            }
            // SAFETY: the request's terms are read-only; attached to the context's interpreter.
            Namespace::Named => unsafe { self.job.host.find_namespace(self.py, self.env, env) },
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
            let value = value.clone_ref(self.py);
            // SAFETY: passed on to the caller.
            return Ok(unsafe { self.converter().to_handle(reply_env, value) }?);
        }
        let by_value = self.results == Results::Terms;
        // SAFETY: passed on to the caller.
        Ok(unsafe { self.converter().to_term(reply_env, value, by_value) }?)
    }

    /// A handle on an object, as a reference, in `reply_env`, which is this thread's alone.
    pub(super) fn handle(
        &self,
        reply_env: *mut ErlNifEnv,
        object: Object,
    ) -> Result<ErlNifTerm, Error> {
        // SAFETY: the environment is this thread's alone; attached to the context's interpreter.
        let handle = unsafe { self.job.host.new_handle(reply_env, object) };
        handle.map_err(|_| Error::ContextDied(ExitReason::ThreadEnded))
    }

    pub(super) fn converter(&self) -> Converter<'_> {
        Converter {
            py: self.py,
            types: &self.local.types,
            handles: self.job.host,
            values: self.values,
            max_depth: settings::max_depth(),
        }
    }

    pub(super) fn or_exception<T>(&mut self, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| {
            self.show_lines();
            Exception::take(self.py).into()
        })
    }

    /// The exception that is set, which stays set.
    pub(super) fn peeked_exception(&self) -> Error {
        py_runtime::exception::preserving_exception(self.py, || self.show_lines());
        Exception::peek(self.py).into()
    }

    /// Gives tracebacks the lines of our sources.
    fn show_lines(&self) {
        if TracebacksWanted::now() {
            // While the cache is borrowed, a traceback has no lines of ours.
            if let Ok(cache) = self.local.code.try_borrow() {
                cache.show_lines(self.py);
            }
        }
    }
}
