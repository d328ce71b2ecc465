//! `erlang.call`, `send`, `self` and `whereis`.
//!
//! Runs on whatever thread Python code runs on, attached. On a context's thread a call serves the
//! context meanwhile; on a thread that Python code started it just waits.

use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::Arc;
use std::time::Duration;

use py_runtime::context::WaitError;
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};
use rustler::sys::{
    ErlNifEnv, ErlNifPid, ErlNifTerm, enif_get_local_pid, enif_is_atom, enif_is_pid,
    enif_make_list_from_array, enif_send, enif_whereis_pid,
};

use super::exchange::{Raised, raise, to_python, to_term, to_term_as, try_to_python};
use super::{prelude, state};
use crate::callback::{Answer, Pending, Request, Waiter};
use crate::convert::{Values, text};
use crate::frame::{self, Frame};
use crate::registered;
use crate::service::Service;
use crate::settings;
use crate::tally::{self, Sent};
use crate::term::{OwnedEnv, Saved, atom, elements, pid_term, tuple};

/// How long a thread without a context sleeps before it looks whether it was asked to stop.
const LOOK: Duration = Duration::from_millis(50);

const NOT_RUNNING: &str = "the Erlang application py_context_router is not running";

// ---------------------------------------------------------------- call

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
    let values = registered::values(&name).ok_or_else(|| unknown(py, &name))?;
    frame::with(|frame| {
        if let Some(frame) = frame {
            let allowed = frame.scope.check_depth(settings::callback_depth());
            allowed.map_err(|why| interrupted(py, why))?;
        }
        let env = OwnedEnv::new();
        // SAFETY: the environment is ours alone; the caller vouches for the objects.
        let list = unsafe { arguments(values, py, frame, env.as_ptr(), args) }?;
        let waiter = match frame {
            Some(frame) => Waiter::Context(Arc::clone(frame.scope.context)),
            None => Waiter::Thread(std::thread::current()),
        };
        // SAFETY: the list is a term of the environment.
        let request = unsafe { Request::new(&name, env, list) };
        let pending = Pending::start(&request, waiter).ok_or_else(|| not_running(py))?;
        // SAFETY: the caller vouches for the module.
        unsafe {
            match frame {
                Some(frame) => frame
                    .scope
                    .wait(&pending, settings::callback_depth())
                    .map_err(|why| interrupted(py, why))?,
                None => sleep(py, module, &pending)?,
            }
            match pending.take_answer() {
                // It is not looked up in any environment.
                Some(Answer::Plain(value)) => returned(py, frame, null_mut(), value, &name),
                Some(Answer::Given(answer)) => result(py, frame, module, &name, &answer),
                Some(Answer::Lost) | None => Err(lost(py, module)),
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
    py: Attached<'_>,
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
        let arg = unsafe { Object::from_borrowed(py, *arg) }.ok_or(Raised)?;
        terms.push(to_term_as(values, py, frame, env, &arg, format_args!("args[{index}]"))?);
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
    pending: &Pending,
) -> Result<(), Raised> {
    while !pending.is_answered() {
        detached(py, || {
            if !pending.is_answered() {
                std::thread::park_timeout(LOOK);
            }
        });
        if !pending.is_answered() {
            // SAFETY: passed on to the caller.
            unsafe { prelude::checkpoint(py, module) }.ok_or(Raised)?;
        }
    }
    Ok(())
}

/// Does something without the GIL on a thread that is no context's.
fn detached<T>(_: Attached<'_>, work: impl FnOnce() -> T) -> T {
    // SAFETY: attached; `work` touches nothing of Python.
    let state = unsafe { ffi::PyEval_SaveThread() };
    let result = work();
    // SAFETY: the thread's own state, detached above.
    unsafe { ffi::PyEval_RestoreThread(state) };
    result
}

/// The object for what the function has returned.
fn returned(
    py: Attached<'_>,
    frame: Option<&Frame<'_>>,
    env: *mut ErlNifEnv,
    value: ErlNifTerm,
    name: &str,
) -> Result<Object, Raised> {
    to_python(py, frame, env, value, format_args!("the result of {name}"))
}

/// What the function has returned, or the exception it failed with.
///
/// # Safety
/// `module` is live and ours.
unsafe fn result(
    py: Attached<'_>,
    frame: Option<&Frame<'_>>,
    module: *mut ffi::PyObject,
    name: &str,
    answer: &Saved,
) -> Result<Object, Raised> {
    let env = answer.env();
    // SAFETY: the answer's environment is only read.
    match unsafe { elements(env, answer.term()) } {
        [_ok, value] => returned(py, frame, env, *value, name),
        [_raised, class, reason, text, stack] => {
            let class = to_python(py, frame, env, *class, "class")?;
            let reason = match try_to_python(py, frame, env, *reason, "reason") {
                Ok(reason) => reason,
                Err(_) => to_python(py, frame, env, *text, "reason")?,
            };
            let stack = to_python(py, frame, env, *stack, "stacktrace")?;
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
        if let Some(error) = Object::from_owned(py, error) {
            ffi::PyErr_SetObject(state.error, error.as_ptr());
        }
    }
    Raised
}

/// # Safety
/// `module` is live and ours.
unsafe fn lost(py: Attached<'_>, module: *mut ffi::PyObject) -> Raised {
    let parts = [Object::text(py, "exit"), Object::text(py, "killed")];
    // SAFETY: attached; the result is null or ours.
    let stack = unsafe { Object::from_owned(py, ffi::PyList_New(0)) };
    match (parts, stack) {
        // SAFETY: passed on to the caller.
        ([Some(class), Some(reason)], Some(stack)) => unsafe {
            raise_error(py, module, [class, reason, stack])
        },
        _ => Raised,
    }
}

fn interrupted(py: Attached<'_>, why: WaitError) -> Raised {
    // SAFETY: attached; the classes are Python's own.
    unsafe {
        match why {
            WaitError::Interrupted => {
                ffi::PyErr_SetNone(ffi::PyExc_KeyboardInterrupt);
                Raised
            }
            WaitError::TooDeep(levels) => {
                let message = format!(
                    "{levels} calls of Erlang functions are waiting on this context, each in a job \
                     that was started while another waited, and no more are allowed"
                );
                raise(py, ffi::PyExc_RecursionError, &message)
            }
        }
    }
}

fn unknown(py: Attached<'_>, name: &str) -> Raised {
    let message = format!("no Erlang function is registered as '{}'", shown(name));
    // SAFETY: the class is Python's own.
    unsafe { raise(py, ffi::PyExc_NameError, &message) }
}

/// A name for a message, which is copied a few times.
fn shown(name: &str) -> Cow<'_, str> {
    const LONGEST: usize = 200;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => Cow::Owned(format!("{}…", &name[..end])),
        None => Cow::Borrowed(name),
    }
}

fn not_running(py: Attached<'_>) -> Raised {
    // SAFETY: the class is Python's own.
    unsafe { raise(py, ffi::PyExc_RuntimeError, NOT_RUNNING) }
}

/// Whether the module can be asked for an attribute that it hasn't.
pub(super) fn check_attribute(py: Attached<'_>, name: &Object) -> Result<(), Raised> {
    let name = text_of(py, name)?;
    if registered::values(&name).is_some() {
        return Ok(());
    }
    let message = format!(
        "module 'erlang' has no attribute '{}', and no Erlang function of that name is registered",
        shown(&name)
    );
    // SAFETY: the class is Python's own.
    Err(unsafe { raise(py, ffi::PyExc_AttributeError, &message) })
}

/// The text of a `str` or an `erlang.Atom`.
fn text_of(py: Attached<'_>, name: &Object) -> Result<String, Raised> {
    check_name(py, name)?;
    // SAFETY: attached; an object's `str` is one.
    let text = unsafe { Object::from_owned(py, ffi::PyObject_Str(name.as_ptr())) };
    text.and_then(|text| py_runtime::exception::lossy_text(py, &text)).ok_or(Raised)
}

/// Refuses what is neither a `str` nor an `erlang.Atom`.
fn check_name(py: Attached<'_>, name: &Object) -> Result<(), Raised> {
    if is_name(py, name.as_ptr()) {
        return Ok(());
    }
    // SAFETY: attached; types' names end in NUL, and the class is Python's own.
    unsafe {
        let class = std::ffi::CStr::from_ptr((*ffi::Py_TYPE(name.as_ptr())).tp_name);
        let message =
            format!("a name must be a str or an erlang.Atom, not {}", class.to_string_lossy());
        Err(raise(py, ffi::PyExc_TypeError, &message))
    }
}

fn is_name(_: Attached<'_>, name: *mut ffi::PyObject) -> bool {
    // SAFETY: attached, and the callers' objects are live; types' names end in NUL.
    unsafe { ffi::PyUnicode_Check(name) != 0 || is_of(name, c"erlang.Atom") }
}

/// Whether an object is of the type of that name.
///
/// # Safety
/// Attached, and `object` is live.
unsafe fn is_of(object: *mut ffi::PyObject, class: &std::ffi::CStr) -> bool {
    // SAFETY: as the caller vouches; types' names end in NUL.
    unsafe { std::ffi::CStr::from_ptr((*ffi::Py_TYPE(object)).tp_name) == class }
}

/// Whether messages can be sent there: a `Pid`, a name, or a pair of names.
fn is_receiver(py: Attached<'_>, to: &Object) -> bool {
    let ptr = to.as_ptr();
    // SAFETY: attached; items of a tuple are live as long as it is.
    unsafe {
        let is_pair = ffi::PyTuple_Check(ptr) != 0
            && ffi::PyTuple_Size(ptr) == 2
            && is_name(py, ffi::PyTuple_GetItem(ptr, 0))
            && is_name(py, ffi::PyTuple_GetItem(ptr, 1));
        is_pair || is_name(py, ptr) || is_of(ptr, c"erlang.Pid")
    }
}

// ---------------------------------------------------------------- send

/// Where a message goes.
enum To {
    Local(ErlNifPid),
    /// Only a process can send there.
    Elsewhere(ErlNifTerm),
    /// An atom or its name.
    Name(ErlNifTerm),
    /// A name or a node that is no atom.
    Nowhere,
}

/// Sends `term` to a process.
///
/// # Safety
/// `module` is live and ours.
pub(super) unsafe fn send(
    py: Attached<'_>,
    module: *mut ffi::PyObject,
    to: &Object,
    term: &Object,
) -> Result<Object, Raised> {
    if !is_receiver(py, to) {
        let usage = "erlang.send() takes a Pid, a registered name, or (name, node)";
        // SAFETY: the class is Python's own.
        return Err(unsafe { raise(py, ffi::PyExc_TypeError, usage) });
    }
    frame::with(|frame| {
        let env = OwnedEnv::new();
        let message = to_term(py, frame, env.as_ptr(), term, "the message")?;
        let to_whom = to_term(py, frame, env.as_ptr(), to, "the receiver")?;
        // SAFETY: both are terms of our own environment, and no scheduler runs Python.
        let sent = unsafe {
            match receiver(env.as_ptr(), to_whom) {
                To::Local(pid) => Some(send_local(py, frame, &env, pid, message)),
                To::Name(name) => registered_pid(env.as_ptr(), name)
                    .map(|pid| send_local(py, frame, &env, pid, message)),
                To::Elsewhere(address) => {
                    send_elsewhere(py, frame, &env, address, message)?;
                    Some(true)
                }
                To::Nowhere => None,
            }
        };
        match sent {
            Some(true) => Ok(Object::none(py)),
            // SAFETY: the caller vouches for the module.
            Some(false) => Err(unsafe { no_process(py, module, to, "is not alive") }),
            // SAFETY: as above.
            None => Err(unsafe { no_process(py, module, to, "is not a registered name") }),
        }
    })
}

/// # Safety
/// `term` belongs to `env`, which is this thread's.
unsafe fn receiver(env: *mut ErlNifEnv, term: ErlNifTerm) -> To {
    let mut pid = MaybeUninit::uninit();
    // SAFETY: as the caller vouches; `pid` is filled when the call says so.
    unsafe {
        if enif_get_local_pid(env, term, pid.as_mut_ptr()) != 0 {
            To::Local(pid.assume_init())
        } else if enif_is_pid(env, term) != 0 {
            To::Elsewhere(term)
        } else if enif_is_atom(env, term) != 0 || text::inspect(env, term).is_some() {
            To::Name(term)
        } else if let [name, node] = elements(env, term) {
            match (existing_atom(env, *name), existing_atom(env, *node)) {
                (Some(name), Some(node)) => To::Elsewhere(tuple(env, &[name, node])),
                _ => To::Nowhere,
            }
        } else {
            To::Nowhere
        }
    }
}

/// The atom that a term is or names, if there is such an atom.
///
/// # Safety
/// `term` belongs to `env`, which is this thread's.
unsafe fn existing_atom(env: *mut ErlNifEnv, term: ErlNifTerm) -> Option<ErlNifTerm> {
    // SAFETY: as the caller vouches; the name's bytes live as long as the term.
    unsafe {
        if enif_is_atom(env, term) != 0 {
            return Some(term);
        }
        let name = std::str::from_utf8(text::inspect(env, term)?).ok()?;
        text::existing_atom(env, name)
    }
}

/// # Safety
/// `name` belongs to `env`, which is this thread's, no scheduler's.
unsafe fn registered_pid(env: *mut ErlNifEnv, name: ErlNifTerm) -> Option<ErlNifPid> {
    let mut pid = MaybeUninit::uninit();
    // SAFETY: as the caller vouches: without a calling process there is no environment to give.
    // `pid` is filled when the call says so.
    unsafe {
        let name = existing_atom(env, name)?;
        (enif_whereis_pid(null_mut(), name, pid.as_mut_ptr()) != 0).then(|| pid.assume_init())
    }
}

/// Sends at once. What this thread has sent by way of another process goes first, because it might
/// be for the same receiver.
///
/// # Safety
/// `message` belongs to `env`, which is this thread's, no scheduler's.
unsafe fn send_local(
    py: Attached<'_>,
    frame: Option<&Frame<'_>>,
    env: &OwnedEnv,
    pid: ErlNifPid,
    message: ErlNifTerm,
) -> bool {
    if tally::has_sends() {
        wait(py, frame, |stop| tally::wait_for_sends(stop));
    }
    // SAFETY: as the caller vouches.
    unsafe { enif_send(null_mut(), &raw const pid, env.as_ptr(), message) != 0 }
}

/// Has a process send it, because only a process can.
///
/// # Safety
/// `address` and `message` belong to `env`, which is this thread's, no scheduler's.
unsafe fn send_elsewhere(
    py: Attached<'_>,
    frame: Option<&Frame<'_>>,
    env: &OwnedEnv,
    address: ErlNifTerm,
    message: ErlNifTerm,
) -> Result<(), Raised> {
    if tally::has_too_many_sends() {
        wait(py, frame, |stop| tally::wait_for_room_to_send(stop));
    }
    tally::add(Sent::Send);
    let ptr = env.as_ptr();
    // SAFETY: as the caller vouches.
    let sent = unsafe {
        let order = tuple(ptr, &[atom(ptr, "py_send"), tally::term(ptr), address, message]);
        Service::Sender.send(ptr, order)
    };
    if sent {
        Ok(())
    } else {
        tally::take_back(Sent::Send);
        Err(not_running(py))
    }
}

/// Waits for this thread's tally without the GIL; an interrupted job waits no longer.
pub(super) fn wait(
    py: Attached<'_>,
    frame: Option<&Frame<'_>>,
    wait: impl FnOnce(&dyn Fn() -> bool),
) {
    match frame {
        Some(frame) => {
            frame.scope.note_raised();
            frame.scope.detached(|| wait(&|| frame.scope.is_interrupted()));
        }
        None => detached(py, || wait(&|| false)),
    }
}

/// # Safety
/// `module` is live and ours.
unsafe fn no_process(
    py: Attached<'_>,
    module: *mut ffi::PyObject,
    to: &Object,
    what: &str,
) -> Raised {
    // SAFETY: attached; live objects; the state holds the class for as long as the module lives.
    unsafe {
        let shown = Object::from_owned(py, ffi::PyObject_Repr(to.as_ptr()));
        let shown = shown.and_then(|shown| py_runtime::exception::lossy_text(py, &shown));
        let Some(state) = state(module) else { return Raised };
        raise(py, state.process_error, &format!("{} {what}", shown.unwrap_or_default()))
    }
}

// ---------------------------------------------------------------- self, whereis

/// The process whose job runs on this thread.
pub(super) fn caller(py: Attached<'_>) -> Result<Object, Raised> {
    frame::with(|frame| match frame {
        Some(frame) => pid_object(py, Some(frame), frame.call.principal()),
        None => {
            let message = "no Erlang process's job runs on this thread: ask for erlang.self() \
                           before you start a thread, and pass it on";
            // SAFETY: the class is Python's own.
            Err(unsafe { raise(py, ffi::PyExc_RuntimeError, message) })
        }
    })
}

/// The process that is registered as `name`, or `None`.
pub(super) fn whereis(py: Attached<'_>, name: &Object) -> Result<Object, Raised> {
    check_name(py, name)?;
    frame::with(|frame| {
        let env = OwnedEnv::new();
        let name = to_term(py, frame, env.as_ptr(), name, "the name")?;
        // SAFETY: a term of our own environment, and no scheduler runs Python.
        match unsafe { registered_pid(env.as_ptr(), name) } {
            Some(pid) => pid_object(py, frame, pid),
            None => Ok(Object::none(py)),
        }
    })
}

fn pid_object(
    py: Attached<'_>,
    frame: Option<&Frame<'_>>,
    pid: ErlNifPid,
) -> Result<Object, Raised> {
    let env = OwnedEnv::new();
    to_python(py, frame, env.as_ptr(), pid_term(pid), "the pid")
}
