//! What a request does: call, map, eval, exec, streams, and making a namespace.
//!
//! Uses [`crate::thread`] and what is below it. Runs on a context thread, attached. A failure is
//! plain data when it leaves here, and no exception may stay set.

mod call;
mod code;
mod executor;
mod map;
mod slice;
mod streams;

use py_runtime::exception::{self, Exception, TracebacksWanted};
use py_runtime::object::Object;
use rustler::sys::{ErlNifEnv, ErlNifTerm};

use crate::convert::DeferredDrop;
use crate::request::decode::{Request, RequestTerms};
use crate::request::error::Error;
use crate::request::flags::{Flags, Results};
use crate::term::{atom, ok, tuple};
use crate::thread::event_loop::is_coroutine;
use crate::thread::host::Unfit;
use crate::thread::job_scope::JobScope;
use executor::Executor;
use map::Map;

/// For the caller of a function that has given no coroutine before.
const COROUTINE: &str = "a call that runs on its caller's scheduler can't run a coroutine; from \
                         now on this one doesn't run there";

/// The reply to an operation.
enum Reply {
    /// `ok`.
    Done,
    /// `{ok, Value}`, as the caller wants the value.
    Value(Object),
    /// This term.
    Term(ErlNifTerm),
    /// What the coroutine gives in the end, in the way of the request.
    Awaits(Object),
    /// As if a coroutine had given this.
    Taken(Object),
}

/// What has become of a request.
pub(crate) enum Ran {
    /// This is its result.
    Result(ErlNifTerm),
    /// It has begun: the coroutine is to be run, and [`finish`] then called with what it gives.
    Coroutine(Object),
}

/// Does what the request says and makes the result term in `reply_env`. `deferred` is to be dropped
/// when that has been sent.
pub(crate) fn run(
    job: &JobScope<'_>,
    reply_env: *mut ErlNifEnv,
    deferred: &mut DeferredDrop,
) -> Result<Ran, Error> {
    let RequestTerms { env, elements, .. } = job.request;
    // SAFETY: the request's terms are read-only.
    let flags = unsafe { Flags::of(env, elements) };
    let _tracebacks = TracebacksWanted::from_now(flags.tracebacks());
    let request = Request::decode(elements).ok_or(Error::Panicked)?;
    let mut run = Executor::of_request(job, request, flags);
    let reply = match run.operate(request, reply_env)? {
        Reply::Value(value) => run.resolve(value, flags, reply_env)?,
        reply => reply,
    };
    let reply = match reply {
        Reply::Awaits(coroutine) if job.control.may_become_task() => {
            return Ok(Ran::Coroutine(coroutine));
        }
        Reply::Awaits(coroutine) if !job.control.may_wait() => {
            job.control.note_unfit(Unfit::Coroutine);
            // It has not begun, and is not missed.
            drop(coroutine.call_method0(job.py, c"close"));
            exception::clear(job.py);
            return Err(Error::Python(Exception::new("RuntimeError", COROUTINE)));
        }
        Reply::Awaits(coroutine) => {
            let value = run.awaited(&coroutine)?;
            run.finished(request, flags, value, reply_env)?
        }
        Reply::Taken(value) => run.finished(request, flags, value, reply_env)?,
        reply => reply,
    };
    run.reply_term(reply, reply_env, deferred).map(Ran::Result)
}

/// Makes the result term of a request whose coroutine has ended: with a value, or with the
/// exception that is set, which stays set.
pub(crate) fn finish(
    job: &JobScope<'_>,
    reply_env: *mut ErlNifEnv,
    deferred: &mut DeferredDrop,
    value: Option<Object>,
) -> Result<ErlNifTerm, Error> {
    let RequestTerms { env, elements, .. } = job.request;
    // SAFETY: the request's terms are read-only.
    let flags = unsafe { Flags::of(env, elements) };
    let _tracebacks = TracebacksWanted::from_now(flags.tracebacks());
    let request = Request::decode(elements).ok_or(Error::Panicked)?;
    let mut run = Executor::of_request(job, request, flags);
    let value = value.ok_or_else(|| run.peeked_exception())?;
    let reply = run.finished(request, flags, value, reply_env)?;
    run.reply_term(reply, reply_env, deferred)
}

impl<'a> Executor<'a> {
    fn of_request(job: &'a JobScope<'a>, request: Request, flags: Flags) -> Self {
        let results = match request {
            Request::ToTerm { .. } => Results::Terms,
            _ => flags.results(),
        };
        Executor::new(job, flags.values(), results)
    }

    fn reply_term(
        &self,
        reply: Reply,
        reply_env: *mut ErlNifEnv,
        deferred: &mut DeferredDrop,
    ) -> Result<ErlNifTerm, Error> {
        // SAFETY: the reply's environment is this thread's alone.
        unsafe {
            Ok(match reply {
                Reply::Done => ok(),
                Reply::Term(term) => term,
                Reply::Value(value) | Reply::Awaits(value) | Reply::Taken(value) => {
                    match self.pairs(&value, reply_env, deferred)? {
                        Some(pairs) => tuple(reply_env, &[atom(reply_env, "pairs"), pairs]),
                        None => {
                            let value = self.consume(value, reply_env, deferred)?;
                            tuple(reply_env, &[ok(), value])
                        }
                    }
                }
            })
        }
    }

    fn operate(&mut self, request: Request, reply_env: *mut ErlNifEnv) -> Result<Reply, Error> {
        Ok(match request {
            Request::Call { module, function, args, kwargs, env } => {
                Reply::Value(self.call(module, function, args, kwargs, env)?)
            }
            Request::Map { module, function, lists, kwargs, env } => {
                let map = Map { module, function, lists, kwargs, env };
                Reply::Term(self.map(reply_env, map)?)
            }
            Request::Eval { source, locals, env } => Reply::Value(self.eval(source, locals, env)?),
            Request::Exec { source, env } => match self.exec(source, env)? {
                Some(coroutine) => Reply::Awaits(coroutine),
                None => Reply::Done,
            },
            Request::CallMethod { object, method, args, kwargs } => {
                Reply::Value(self.call_method(object, method, args, kwargs)?)
            }
            Request::GetAttr { object, name } => Reply::Value(self.getattr(object, name)?),
            Request::ToTerm { object } => Reply::Value(self.object(object)?),
            Request::ToBuffer { object, share } => {
                Reply::Term(self.buffer(reply_env, object, share)?)
            }
            Request::StreamNext { stream, most } => self.stream_next(reply_env, stream, most)?,
            Request::StreamPush(push) => self.stream_push(reply_env, push)?,
            Request::StreamClose { stream } => self.stream_close(stream)?,
            Request::Gather { deferred } => self.gather(deferred)?,
            Request::NewEnv => Reply::Term(self.new_env(reply_env)?),
        })
    }

    /// Begins a stream, if the caller wants one.
    fn resolve(
        &mut self,
        value: Object,
        flags: Flags,
        reply_env: *mut ErlNifEnv,
    ) -> Result<Reply, Error> {
        Ok(if is_coroutine(&value) {
            Reply::Awaits(value)
        } else if flags.streams() {
            Reply::Term(self.stream(reply_env, &value)?)
        } else {
            Reply::Value(value)
        })
    }

    /// What the request's coroutine has given.
    fn finished(
        &mut self,
        request: Request,
        flags: Flags,
        value: Object,
        reply_env: *mut ErlNifEnv,
    ) -> Result<Reply, Error> {
        Ok(match request {
            Request::StreamNext { .. } => Reply::Term(self.items_taken(reply_env, &value)?),
            Request::StreamPush(push) => Reply::Term(self.items_to_push(reply_env, push, &value)?),
            Request::StreamClose { .. } => Reply::Done,
            Request::Gather { .. } => Reply::Term(self.gathered(reply_env, &value)?),
            Request::Exec { env, .. } => {
                self.after_exec(env);
                Reply::Done
            }
            _ if flags.streams() => Reply::Term(self.stream(reply_env, &value)?),
            _ => Reply::Value(value),
        })
    }

    /// The term for the value, which is not used after.
    ///
    /// # Safety
    /// `reply_env` is this thread's alone.
    pub(super) unsafe fn consume(
        &self,
        value: Object,
        reply_env: *mut ErlNifEnv,
        deferred: &mut DeferredDrop,
    ) -> Result<ErlNifTerm, Error> {
        // SAFETY: passed on to the caller.
        Ok(unsafe {
            if self.results == Results::Object {
                self.converter().to_handle(reply_env, value)?
            } else {
                let by_value = self.results == Results::Terms;
                self.converter().consume_to_term(reply_env, value, by_value, deferred)?
            }
        })
    }

    /// A large dict as pairs, where the caller makes a map of them. `None`: it doesn't, or the
    /// value is something else.
    ///
    /// # Safety
    /// `reply_env` is this thread's alone.
    unsafe fn pairs(
        &self,
        value: &Object,
        reply_env: *mut ErlNifEnv,
        deferred: &mut DeferredDrop,
    ) -> Result<Option<ErlNifTerm>, Error> {
        if self.results == Results::Object || !self.job.control.caller_makes_maps() {
            return Ok(None);
        }
        let by_value = self.results == Results::Terms;
        // SAFETY: passed on to the caller.
        Ok(unsafe { self.converter().consume_to_pairs(reply_env, value, by_value, deferred)? })
    }

    fn buffer(
        &mut self,
        reply_env: *mut ErlNifEnv,
        object: ErlNifTerm,
        share: ErlNifTerm,
    ) -> Result<ErlNifTerm, Error> {
        let object = self.object(object)?;
        // SAFETY: the reply's environment is this thread's alone; a caller that asks for a share
        // vouches for it.
        unsafe {
            let share = share == atom(self.env, "true");
            let buffer = self.converter().to_buffer(reply_env, &object, share)?;
            Ok(tuple(reply_env, &[ok(), buffer]))
        }
    }
}
