//! What a request does: call, eval, exec, streams, and making a namespace.
//!
//! Runs on a context thread, attached. Uses [`crate::thread`] and what is below it. A failure is
//! plain data when it leaves here, and no exception stays set.

mod call;
mod code;
mod executor;
mod streams;

use py_runtime::exception::TracebacksWanted;
use py_runtime::job::Scope;
use rustler::sys::{ErlNifEnv, ErlNifTerm};

use crate::convert::Remains;
use crate::request::call::Call;
use crate::request::decode::Request;
use crate::request::error::Error;
use crate::request::flags::{Flags, Results};
use crate::term::{atom, tuple};
use crate::thread::event_loop::is_coroutine;
use executor::Run;

/// Does what the request says and makes the result term, `ok` or `{ok, Value}`, in `reply_env`.
/// `remains` is to be dropped when it has been sent.
pub(crate) fn run(
    call: &Call,
    scope: &Scope<'_, Call>,
    reply_env: *mut ErlNifEnv,
    remains: &mut Remains,
) -> Result<ErlNifTerm, Error> {
    let Scope { at, context, namespace, local, .. } = scope;
    // SAFETY: the request's terms are read-only.
    let flags = unsafe { Flags::of(call.env(), call.elements()) };
    let _tracebacks = TracebacksWanted::from_now(flags.tracebacks());
    let request = Request::decode(call.elements()).ok_or(Error::Panicked)?;
    let results = match request {
        Request::ToTerm { .. } => Results::Terms,
        _ => flags.results(),
    };
    let (caller, values, env) = (call.caller(), flags.values(), call.env());
    let mut run = Run { at: *at, context, namespace, local, caller, values, env, results };
    let value = match request {
        Request::Call { module, function, args, kwargs, env } => {
            Some(run.call(module, function, args, kwargs, env)?)
        }
        Request::Eval { source, locals, env } => Some(run.eval(source, locals, env)?),
        Request::Exec { source, env } => {
            run.exec(source, env)?;
            None
        }
        Request::CallMethod { object, method, args, kwargs } => {
            Some(run.call_method(object, method, args, kwargs)?)
        }
        Request::GetAttr { object, name } => Some(run.getattr(object, name)?),
        Request::ToTerm { object } => Some(run.object(object)?),
        Request::ToBuffer { object, share } => return run.buffer(reply_env, object, share),
        Request::StreamNext { stream, most } => return run.stream_next(reply_env, stream, most),
        Request::StreamPush(push) => return run.stream_push(reply_env, call, push),
        Request::StreamClose { stream } => {
            run.stream_close(stream)?;
            None
        }
        Request::Gather { parked, timeout } => return run.gather(reply_env, parked, timeout),
        Request::NewEnv => return run.new_env(reply_env),
    };
    let value = match value {
        Some(value) if flags.streams() => return run.stream(reply_env, value),
        Some(value) if is_coroutine(&value) => {
            if flags.parks() {
                return run.parked(reply_env, value);
            }
            Some(run.awaited(value)?)
        }
        value => value,
    };
    // SAFETY: the reply's environment is this thread's alone.
    unsafe {
        let ok = atom(reply_env, "ok");
        let term = match value {
            None => return Ok(ok),
            Some(value) if results == Results::Object => {
                run.converter().to_handle(reply_env, value)?
            }
            Some(value) => {
                let plainly = results == Results::Terms;
                run.converter().last_to_term(reply_env, value, plainly, remains)?
            }
        };
        Ok(tuple(reply_env, &[ok, term]))
    }
}

impl Run<'_, '_> {
    fn buffer(
        &mut self,
        reply_env: *mut ErlNifEnv,
        object: ErlNifTerm,
        share: ErlNifTerm,
    ) -> Result<ErlNifTerm, Error> {
        let object = self.object(object)?;
        // SAFETY: the reply's environment is this thread's alone; whoever asks for a share vouches
        // for it.
        unsafe {
            let share = share == atom(self.env, "true");
            let buffer = self.converter().to_buffer(reply_env, &object, share)?;
            Ok(tuple(reply_env, &[atom(reply_env, "ok"), buffer]))
        }
    }
}
