//! Expressions, statements, and namespaces for them.

use py_runtime::code::{self, Kind};
use py_runtime::namespace::new_namespace;
use py_runtime::object::Object;
use rustler::sys::{ErlNifEnv, ErlNifTerm};

use super::executor::Executor;
use crate::request::decode::Namespace;
use crate::request::error::{ConvertError, Error, ExitReason};
use crate::term::{self, atom, tuple};
use crate::thread::code_cache;
use crate::thread::event_loop::is_coroutine;

impl Executor<'_> {
    pub(super) fn eval(
        &mut self,
        source: ErlNifTerm,
        locals: ErlNifTerm,
        env: ErlNifTerm,
    ) -> Result<Object, Error> {
        let code = self.compiled(source, Kind::Expression)?;
        let globals = self.namespace(env)?;
        let globals = match self.named_values(locals, "locals")? {
            None => globals,
            Some(locals) => self.with_locals(&globals, &locals)?,
        };
        self.or_exception(code::run(self.py, &code, &globals, &globals))
    }

    /// Runs statements. A coroutine: they wait outside of functions.
    pub(super) fn exec(
        &mut self,
        source: ErlNifTerm,
        env: ErlNifTerm,
    ) -> Result<Option<Object>, Error> {
        let code = self.compiled(source, Kind::Statements)?;
        let globals = self.namespace(env)?;
        let done = self.or_exception(code::run(self.py, &code, &globals, &globals));
        self.after_exec(env);
        Ok(Some(done?).filter(is_coroutine))
    }

    /// Statements may have changed the context's own namespace.
    pub(super) fn after_exec(&self, env: ErlNifTerm) {
        if matches!(self.which(env), Namespace::Own) {
            self.local.processes.refresh(self.py);
        }
    }

    /// A copy of `globals` with `locals` over it. Real locals would not do: the body of a lambda
    /// or comprehension inside the expression doesn't see those.
    fn with_locals(&mut self, globals: &Object, locals: &Object) -> Result<Object, Error> {
        let copy = globals.dict_copy(self.py);
        self.or_exception(copy.filter(|copy| copy.update(self.py, locals).is_some()))
    }

    fn compiled(&mut self, source: ErlNifTerm, kind: Kind) -> Result<Object, Error> {
        // SAFETY: the request's terms are read-only, and live as long as the request.
        let source = unsafe { term::inspect(self.env, source) }.ok_or_else(|| {
            Error::Convert(ConvertError::Unconvertible {
                path: "code".into(),
                what: "not a binary".into(),
            })
        })?;
        // Compiling can warn, and a warning runs Python code, during which other jobs can run
        // nested.
        Ok(match self.local.code.try_borrow_mut() {
            Ok(mut cache) => cache.get(self.py, source, kind)?,
            Err(_) => code_cache::compile(self.py, source, "<erlang>", kind)?,
        })
    }

    pub(super) fn new_env(&mut self, reply_env: *mut ErlNifEnv) -> Result<ErlNifTerm, Error> {
        let namespace = new_namespace(self.py)?;
        // SAFETY: the reply's environment is this thread's alone; attached to the context's
        // interpreter.
        let reference = unsafe { self.job.host.new_namespace(reply_env, namespace) }
            .ok_or(Error::ContextDied(ExitReason::ThreadEnded))?;
        // SAFETY: the reply's environment is this thread's alone.
        Ok(unsafe { tuple(reply_env, &[atom(reply_env, "ok"), reference]) })
    }
}
