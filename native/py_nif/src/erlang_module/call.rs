//! `erlang.call`.
//!
//! Runs on whatever thread Python code runs on, attached. On a context's thread a call serves the
//! context meanwhile; on a thread that Python code started it just waits.

use std::borrow::Cow;
use std::ptr::null_mut;
use std::sync::Arc;
use std::time::Duration;

use py_runtime::context::Interrupted;
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifTerm, enif_make_list_from_array};

use super::blocking::detached;
use super::current_job::{self, Frame};
use super::names::text_of;
use super::prelude;
use super::state::state;
use super::values::{Raised, not_running, raise, to_python, to_term_as, try_to_python};
use crate::outbound::callback::{Answer, Pending, Request, Waiter};
use crate::outbound::callback_names;
use crate::request::flags::Values;
use crate::settings;
use crate::term::{OwnedEnv, Saved, elements};

/// How long a thread without a context sleeps before it looks whether it was asked to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Calls the function registered as `name`.
///
/// # Safety
/// `module` is live and ours, `args` are live objects.
pub(super) unsafe fn call(
    at: Attached<'_>,
    module: *mut ffi::PyObject,
    name: &Object,
    args: &[*mut ffi::PyObject],
) -> Result<Object, Raised> {
    let name = text_of(at, name)?;
    let values = callback_names::values(&name).ok_or_else(|| unknown(at, &name))?;
    current_job::with(|frame| {
        if let Some(frame) = frame {
            let allowed = frame.scope.check_depth(settings::callback_depth());
            allowed.map_err(|why| interrupted(at, why))?;
        }
        let env = OwnedEnv::new();
        // SAFETY: the environment is ours alone; the caller vouches for the objects.
        let list = unsafe { arguments(values, at, frame, env.as_ptr(), args) }?;
        let waiter = match frame {
            Some(frame) => Waiter::Context(Arc::clone(frame.scope.context)),
            None => Waiter::Thread(std::thread::current()),
        };
        // SAFETY: the list is a term of the environment.
        let request = unsafe { Request::new(&name, env, list) };
        let pending = Pending::start(&request, waiter).ok_or_else(|| not_running(at))?;
        // SAFETY: the caller vouches for the module.
        unsafe {
            match frame {
                Some(frame) => frame
                    .scope
                    .wait(&pending, settings::callback_depth())
                    .map_err(|why| interrupted(at, why))?,
                None => sleep(at, module, &pending)?,
            }
            match pending.take_answer() {
                // It is not looked up in any environment.
                Some(Answer::Plain(value)) => returned(at, frame, null_mut(), value, &name),
                Some(Answer::Given(answer)) => result(at, frame, module, &name, &answer),
                Some(Answer::Lost) | None => Err(lost(at, module)),
            }
        }
    })
}

/// A list of the terms for `args`.
///
/// # Safety
/// `env` is the caller's alone, `args` are live objects.
unsafe fn arguments(
    values: Values,
    at: Attached<'_>,
    frame: Option<&Frame<'_>>,
    env: *mut ErlNifEnv,
    args: &[*mut ffi::PyObject],
) -> Result<ErlNifTerm, Raised> {
    let mut terms = Vec::new();
    if terms.try_reserve_exact(args.len()).is_err() {
        // SAFETY: attached.
        unsafe { ffi::PyErr_NoMemory() };
        return Err(Raised);
    }
    for (index, arg) in args.iter().enumerate() {
        // SAFETY: live, as the caller vouches.
        let arg = unsafe { Object::from_borrowed(at, *arg) }.ok_or(Raised)?;
        terms.push(to_term_as(values, at, frame, env, &arg, format_args!("args[{index}]"))?);
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
    at: Attached<'_>,
    module: *mut ffi::PyObject,
    pending: &Pending,
) -> Result<(), Raised> {
    while !pending.is_answered() {
        detached(at, || {
            if !pending.is_answered() {
                std::thread::park_timeout(LOOK);
            }
        });
        if !pending.is_answered() {
            // SAFETY: passed on to the caller.
            unsafe { prelude::checkpoint(at, module) }.ok_or(Raised)?;
        }
    }
    Ok(())
}

/// The object for what the function has returned.
fn returned(
    at: Attached<'_>,
    frame: Option<&Frame<'_>>,
    env: *mut ErlNifEnv,
    value: ErlNifTerm,
    name: &str,
) -> Result<Object, Raised> {
    to_python(at, frame, env, value, format_args!("the result of {name}"))
}

/// What the function has returned, or the exception it failed with.
///
/// # Safety
/// `module` is live and ours.
unsafe fn result(
    at: Attached<'_>,
    frame: Option<&Frame<'_>>,
    module: *mut ffi::PyObject,
    name: &str,
    answer: &Saved,
) -> Result<Object, Raised> {
    let env = answer.env();
    // SAFETY: the answer's environment is only read.
    match unsafe { elements(env, answer.term()) } {
        [_ok, value] => returned(at, frame, env, *value, name),
        [_raised, class, reason, text, stack] => {
            let class = to_python(at, frame, env, *class, "class")?;
            let reason = match try_to_python(at, frame, env, *reason, "reason") {
                Ok(reason) => reason,
                Err(_) => to_python(at, frame, env, *text, "reason")?,
            };
            let stack = to_python(at, frame, env, *stack, "stacktrace")?;
            // SAFETY: passed on to the caller.
            Err(unsafe { raise_error(at, module, [class, reason, stack]) })
        }
        _ => Err(unknown(at, name)),
    }
}

/// Raises `erlang.Error(class, reason, stacktrace)`.
///
/// # Safety
/// `module` is live and ours.
unsafe fn raise_error(
    at: Attached<'_>,
    module: *mut ffi::PyObject,
    [class, reason, stack]: [Object; 3],
) -> Raised {
    // SAFETY: attached; live objects; the module's state holds the class for as long as it lives.
    unsafe {
        let Some(state) = state(module) else { return Raised };
        let error = ffi::PyObject_CallFunctionObjArgs(
            state.error,
            class.as_ptr(),
            reason.as_ptr(),
            stack.as_ptr(),
            null_mut::<ffi::PyObject>(),
        );
        if let Some(error) = Object::from_owned(at, error) {
            ffi::PyErr_SetObject(state.error, error.as_ptr());
        }
    }
    Raised
}

/// # Safety
/// `module` is live and ours.
unsafe fn lost(at: Attached<'_>, module: *mut ffi::PyObject) -> Raised {
    let parts = [Object::text(at, "exit"), Object::text(at, "killed")];
    // SAFETY: attached; the result is null or ours.
    let stack = unsafe { Object::from_owned(at, ffi::PyList_New(0)) };
    match (parts, stack) {
        // SAFETY: passed on to the caller.
        ([Some(class), Some(reason)], Some(stack)) => unsafe {
            raise_error(at, module, [class, reason, stack])
        },
        _ => Raised,
    }
}

fn interrupted(at: Attached<'_>, why: Interrupted) -> Raised {
    // SAFETY: attached; the classes are Python's own.
    unsafe {
        match why {
            Interrupted::Struck => {
                ffi::PyErr_SetNone(ffi::PyExc_KeyboardInterrupt);
                Raised
            }
            Interrupted::TooDeep(levels) => {
                let message = format!(
                    "{levels} calls of Erlang functions are waiting on this context, each in a job \
                     that was started while another waited, and no more are allowed"
                );
                raise(at, ffi::PyExc_RecursionError, &message)
            }
        }
    }
}

fn unknown(at: Attached<'_>, name: &str) -> Raised {
    let message = format!("no Erlang function is registered as '{}'", shown(name));
    // SAFETY: the class is Python's own.
    unsafe { raise(at, ffi::PyExc_NameError, &message) }
}

/// A name for a message, which is copied a few times.
fn shown(name: &str) -> Cow<'_, str> {
    const LONGEST: usize = 200;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => Cow::Owned(format!("{}…", &name[..end])),
        None => Cow::Borrowed(name),
    }
}

/// Whether the module can be asked for an attribute that it hasn't.
pub(super) fn check_attribute(at: Attached<'_>, name: &Object) -> Result<(), Raised> {
    let name = text_of(at, name)?;
    if callback_names::values(&name).is_some() {
        return Ok(());
    }
    let message = format!(
        "module 'erlang' has no attribute '{}', and no Erlang function of that name is registered",
        shown(&name)
    );
    // SAFETY: the class is Python's own.
    Err(unsafe { raise(at, ffi::PyExc_AttributeError, &message) })
}
