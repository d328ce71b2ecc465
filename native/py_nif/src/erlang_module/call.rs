//! `erlang.call`.
//!
//! Runs on whatever thread Python code runs on, attached. While a call waits on a context's thread,
//! the thread runs other jobs; a thread that Python code started sleeps.

use std::borrow::Cow;
use std::ptr::null_mut;
use std::time::Duration;

use py_runtime::context::WaitError;
use py_runtime::exception::{self, ErrorClass, set_no_memory};
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifTerm, enif_make_list_from_array};

use super::blocking::detached;
use super::current_job::{self, CurrentJob};
use super::names::text_of;
use super::prelude;
use super::state::state;
use super::values::{Raised, not_running, raise, to_python, to_term_as, try_to_python};
use crate::request::flags::Values;
use crate::settings;
use crate::term::{SavedTerm, TermEnv, elements, is_calling};
use crate::thread::host::{CallError, CallbackResult, ErlangCall, PendingCall, outbound};
use crate::thread::tasks::AwaitedCall;

/// How often a thread without a context checks whether it was asked to stop.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Calls the function registered as `name`.
///
/// # Safety
/// `module` is live and ours, `args` are live objects.
pub(super) unsafe fn call(
    py: Attached<'_>,
    module: *mut ffi::PyObject,
    name: &Object,
    args: &[*mut ffi::PyObject],
) -> Result<Object, Raised> {
    let name = text_of(py, name)?;
    let values = outbound().function_values(&name).ok_or_else(|| unknown(py, &name))?;
    current_job::with(|job| {
        if let Some(job) = job {
            let allowed = job.scope.control.check_depth(settings::callback_depth());
            allowed.map_err(|why| interrupted(py, why))?;
        }
        let env = TermEnv::new();
        // SAFETY: the environment is ours alone; the caller vouches for the objects.
        let list = unsafe { arguments(values, py, job, env.as_ptr(), args) }?;
        let call = ErlangCall { name: &name, env, arguments: list };
        // SAFETY: the caller vouches for the module.
        let called = unsafe {
            match job {
                Some(job) => job.scope.control.call_erlang(call, settings::callback_depth()),
                // Code of a job in another interpreter, or a finalizer after it.
                None if is_calling() => Err(CallError::CannotWait),
                None => call_and_sleep(py, module, call)?,
            }
        };
        // SAFETY: as above.
        unsafe {
            match called {
                Ok(answer) => taken(py, job, module, &name, answer),
                Err(CallError::Interrupted(why)) => Err(interrupted(py, why)),
                Err(CallError::NotRunning) => Err(not_running(py)),
                Err(CallError::CannotWait) => Err(cannot_wait(py)),
            }
        }
    })
}

/// Has the function registered as `name` called: a future of its result, or None where the event
/// loop of tasks doesn't run.
///
/// # Safety
/// `module` is live and ours, `args` are live objects.
pub(super) unsafe fn async_call(
    py: Attached<'_>,
    module: *mut ffi::PyObject,
    name: &Object,
    args: &[*mut ffi::PyObject],
) -> Result<Object, Raised> {
    let name = text_of(py, name)?;
    let values = outbound().function_values(&name).ok_or_else(|| unknown(py, &name))?;
    current_job::with(|job| {
        let Some(job) = job else { return Ok(Object::none(py)) };
        let local = job.scope.local;
        let Some(event_loop) = local.event_loop.get() else { return Ok(Object::none(py)) };
        let future = event_loop.new_future(py).map_err(|_| Raised)?;
        let Some(future) = future else { return Ok(Object::none(py)) };
        let env = TermEnv::new();
        // SAFETY: the environment is ours alone; the caller vouches for the objects.
        let list = unsafe { arguments(values, py, Some(job), env.as_ptr(), args) }?;
        let call = ErlangCall { name: &name, env, arguments: list };
        let number = local.tasks.next_call();
        let pending = job.scope.control.start_call(call, number).ok_or_else(|| not_running(py))?;
        // SAFETY: the caller vouches for the module.
        let module = unsafe { Object::lent(py, &module) }.clone_ref(py);
        let call = AwaitedCall { future: future.clone_ref(py), module, name, pending };
        local.tasks.keep_call(number, call);
        Ok(future)
    })
}

/// Gives the future of a call the answer, unless nobody awaits it any more. As code of the event
/// loop.
pub(crate) fn answer_future(py: Attached<'_>, call: &AwaitedCall) {
    let is_done = call.future.call_method0(py, c"done");
    if is_done.is_some_and(|is_done| is_done.is_bool(false)) {
        let answer = call.pending.take_answer().unwrap_or(CallbackResult::Lost);
        // SAFETY: the module is ours, and kept by the call.
        let value = current_job::with(|job| unsafe {
            taken(py, job, call.module.as_ptr(), &call.name, answer)
        });
        let (method, value) = match value {
            Ok(value) => (c"set_result", Some(value)),
            Err(Raised) => (c"set_exception", exception::take_object(py)),
        };
        let method = call.future.getattr_c(py, method);
        drop(method.zip(value).and_then(|(method, value)| method.call1(py, &value)));
    }
    exception::clear(py);
}

/// The object for a call's answer.
///
/// # Safety
/// `module` is live and ours.
unsafe fn taken(
    py: Attached<'_>,
    job: Option<&CurrentJob<'_>>,
    module: *mut ffi::PyObject,
    name: &str,
    answer: CallbackResult,
) -> Result<Object, Raised> {
    // SAFETY: as the caller vouches.
    unsafe {
        match answer {
            // It is not looked up in any environment.
            CallbackResult::Immediate(value) => returned(py, job, null_mut(), value, name),
            CallbackResult::Term(answer) => result(py, job, module, name, &answer),
            CallbackResult::Lost => Err(lost(py, module)),
        }
    }
}

/// Calls on a thread that is no context's. `Err`: it was asked to stop.
///
/// # Safety
/// Attached; `module` is live and ours.
unsafe fn call_and_sleep(
    py: Attached<'_>,
    module: *mut ffi::PyObject,
    call: ErlangCall<'_>,
) -> Result<Result<CallbackResult, CallError>, Raised> {
    let Some(pending) = outbound().call_erlang(call) else {
        return Ok(Err(CallError::NotRunning));
    };
    // SAFETY: passed on to the caller.
    unsafe { sleep(py, module, &*pending) }?;
    Ok(Ok(pending.take_answer().unwrap_or(CallbackResult::Lost)))
}

/// A list of the terms for `args`.
///
/// # Safety
/// `env` is the caller's alone, `args` are live objects.
unsafe fn arguments(
    values: Values,
    py: Attached<'_>,
    job: Option<&CurrentJob<'_>>,
    env: *mut ErlNifEnv,
    args: &[*mut ffi::PyObject],
) -> Result<ErlNifTerm, Raised> {
    let mut terms = Vec::new();
    if terms.try_reserve_exact(args.len()).is_err() {
        set_no_memory(py);
        return Err(Raised);
    }
    for (index, arg) in args.iter().enumerate() {
        // SAFETY: live, as the caller vouches.
        let arg = unsafe { Object::from_borrowed(py, *arg) }.ok_or(Raised)?;
        terms.push(to_term_as(values, py, job, env, &arg, format_args!("args[{index}]"))?);
    }
    let count = u32::try_from(terms.len()).unwrap_or(u32::MAX);
    // SAFETY: pointer and length come from one vector, and its terms are of `env`.
    Ok(unsafe { enif_make_list_from_array(env, terms.as_ptr(), count) })
}

/// Sleeps until the call is answered.
///
/// # Safety
/// Attached; `module` is live and ours.
unsafe fn sleep(
    py: Attached<'_>,
    module: *mut ffi::PyObject,
    pending: &dyn PendingCall,
) -> Result<(), Raised> {
    while !pending.is_answered() {
        detached(py, || {
            if !pending.is_answered() {
                std::thread::park_timeout(CHECK_INTERVAL);
            }
        });
        if !pending.is_answered() {
            // SAFETY: passed on to the caller.
            unsafe { prelude::checkpoint(py, module) }.ok_or(Raised)?;
        }
    }
    Ok(())
}

/// The object for the function's result.
fn returned(
    py: Attached<'_>,
    job: Option<&CurrentJob<'_>>,
    env: *mut ErlNifEnv,
    value: ErlNifTerm,
    name: &str,
) -> Result<Object, Raised> {
    to_python(py, job, env, value, format_args!("the result of {name}"))
}

/// The object for the function's result, or the exception that it failed with.
///
/// # Safety
/// `module` is live and ours.
unsafe fn result(
    py: Attached<'_>,
    job: Option<&CurrentJob<'_>>,
    module: *mut ffi::PyObject,
    name: &str,
    answer: &SavedTerm,
) -> Result<Object, Raised> {
    let env = answer.env();
    // SAFETY: the answer's environment is only read.
    match unsafe { elements(env, answer.term()) } {
        [_ok, value] => returned(py, job, env, *value, name),
        [_raised, class, reason, text, stack] => {
            let class = to_python(py, job, env, *class, "class")?;
            let reason = match try_to_python(py, job, env, *reason, "reason") {
                Ok(reason) => reason,
                Err(_) => to_python(py, job, env, *text, "reason")?,
            };
            let stack = to_python(py, job, env, *stack, "stacktrace")?;
            // SAFETY: passed on to the caller.
            Err(unsafe { raise_error(py, module, [class, reason, stack]) })
        }
        _ => Err(unknown(py, name)),
    }
}

/// Raises `erlang.Error(class, reason, stacktrace)`.
///
/// # Safety
/// `module` is live and ours.
unsafe fn raise_error(
    py: Attached<'_>,
    module: *mut ffi::PyObject,
    [class, reason, stack]: [Object; 3],
) -> Raised {
    // SAFETY: as the caller vouches; the state holds the class for as long as the module lives.
    let error_class = unsafe {
        let Some(state) = state(module) else { return Raised };
        Object::from_borrowed(py, state.error)
    };
    let Some(error_class) = error_class else { return Raised };
    if let Some(error) = error_class.call(py, [&class, &reason, &stack]) {
        // SAFETY: attached; live objects.
        unsafe { ffi::PyErr_SetObject(error_class.as_ptr(), error.as_ptr()) };
    }
    Raised
}

/// # Safety
/// `module` is live and ours.
unsafe fn lost(py: Attached<'_>, module: *mut ffi::PyObject) -> Raised {
    let parts = [Object::text(py, "exit"), Object::text(py, "killed")];
    match (parts, Object::list(py)) {
        // SAFETY: passed on to the caller.
        ([Some(class), Some(reason)], Some(stack)) => unsafe {
            raise_error(py, module, [class, reason, stack])
        },
        _ => Raised,
    }
}

fn interrupted(py: Attached<'_>, why: WaitError) -> Raised {
    match why {
        WaitError::Interrupted => {
            ErrorClass::KeyboardInterrupt.raise_plain(py);
            Raised
        }
        WaitError::TooDeep(levels) => {
            let message = format!(
                "{levels} calls of Erlang functions are waiting on this context, each in a job \
                 that was started while another waited, and no more are allowed"
            );
            raise(py, ErrorClass::RecursionError, &message)
        }
    }
}

fn cannot_wait(py: Attached<'_>) -> Raised {
    let message = "an Erlang function can't be called by a call that runs on its caller's \
                   scheduler; from now on this one doesn't";
    raise(py, ErrorClass::RuntimeError, message)
}

fn unknown(py: Attached<'_>, name: &str) -> Raised {
    let message = format!("no Erlang function is registered as '{}'", shown(name));
    raise(py, ErrorClass::NameError, &message)
}

/// A name for a message, which is copied a few times.
fn shown(name: &str) -> Cow<'_, str> {
    const MAX_SHOWN: usize = 200;
    match name.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => Cow::Owned(format!("{}…", &name[..end])),
        None => Cow::Borrowed(name),
    }
}

/// Whether the module can be asked for an attribute that it hasn't.
pub(super) fn check_attribute(py: Attached<'_>, name: &Object) -> Result<(), Raised> {
    let name = text_of(py, name)?;
    if outbound().function_values(&name).is_some() {
        return Ok(());
    }
    let message = format!(
        "module 'erlang' has no attribute '{}', and no Erlang function of that name is registered",
        shown(&name)
    );
    Err(raise(py, ErrorClass::AttributeError, &message))
}
