//! The functions of module `erlang`, as CPython calls them.
//!
//! Runs on whatever thread Python code runs on, attached. This file only takes arguments apart;
//! the other files of the folder do the work.

use std::cell::UnsafeCell;

use py_runtime::exception::ErrorClass;
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};

use super::current_job;
use super::method_def::{
    Argument, END, Methods, arguments, function, guarded, keep, keywords, many, one,
};
use super::values::{Raised, raise};
use super::{call as calls, io, job_namespace, log as logs, pickle, send as sends};

/// Functions of the module.
pub(super) static METHODS: Methods<7> = Methods(UnsafeCell::new([
    keywords(
        c"call",
        call,
        c"call($module, name, /, *args)\n--\n\nCall the Erlang function registered as `name`.",
    ),
    many(
        c"send",
        send,
        c"send($module, to, term, /)\n--\n\n\
          Send a message to a Pid, a registered name, or (name, node).",
    ),
    one(
        c"self",
        self_,
        ffi::METH_NOARGS,
        c"self($module, /)\n--\n\nThe Erlang process whose job is running.",
    ),
    one(
        c"whereis",
        whereis,
        ffi::METH_O,
        c"whereis($module, name, /)\n--\n\nThe process registered as `name`, or None.",
    ),
    many(c"_restore", restore, c"For pickle: a Pid or a Ref of this VM."),
    one(c"__getattr__", getattr, ffi::METH_O, c"The Erlang function registered as that name."),
    END,
]));

/// Functions of the prelude only.
pub(super) static PRIVATE: Methods<12> = Methods(UnsafeCell::new([
    one(c"_runs_job", runs_job, ffi::METH_NOARGS, c""),
    many(c"_call", call_now, c""),
    many(c"_async_call", async_call, c""),
    many(c"_write", write, c""),
    one(c"_flush", flush, ffi::METH_O, c""),
    many(c"_log", log, c""),
    one(c"_log_level", log_level, ffi::METH_NOARGS, c""),
    one(c"_log_level_is_old", log_level_is_old, ffi::METH_NOARGS, c""),
    one(c"_log_levels", log_levels, ffi::METH_NOARGS, c""),
    one(c"_environ", environ, ffi::METH_NOARGS, c""),
    one(c"_namespace", namespace, ffi::METH_O, c""),
    one(c"_loop_slot", loop_slot, ffi::METH_NOARGS, c""),
]));

/// A function with the name in it that it calls.
static BY_NAME: Methods<1> =
    Methods(UnsafeCell::new([keywords(c"registered", call_by_name, c"An Erlang function.")]));

fn wrong(py: Attached<'_>, usage: &str) -> Raised {
    raise(py, ErrorClass::TypeError, usage)
}

unsafe extern "C" fn call(
    module: Argument,
    args: *const Argument,
    count: ffi::Py_ssize_t,
    keys: Argument,
) -> Argument {
    guarded(|py| {
        // SAFETY: as CPython gives them.
        let args = unsafe { arguments(args, count) };
        let [name, args @ ..] = args else {
            return Err(wrong(py, "erlang.call() takes a name and then the function's arguments"));
        };
        // SAFETY: live, as long as the call lasts.
        unsafe {
            let name = keep(py, *name)?;
            refuse_keywords(py, &name, keys)?;
            calls::call(py, module, &name, args)
        }
    })
}

unsafe extern "C" fn call_now(
    module: Argument,
    args: *mut Argument,
    count: ffi::Py_ssize_t,
) -> Argument {
    // SAFETY: as CPython gives them.
    unsafe { call(module, args.cast_const(), count, std::ptr::null_mut()) }
}

/// Whether a job runs on this thread.
unsafe extern "C" fn runs_job(_: Argument, _: Argument) -> Argument {
    guarded(|py| Ok(Object::bool(py, current_job::with(|job| job.is_some()))))
}

/// A future of the function's result, or None where the event loop of tasks doesn't run.
unsafe extern "C" fn async_call(
    module: Argument,
    args: *mut Argument,
    count: ffi::Py_ssize_t,
) -> Argument {
    guarded(|py| {
        // SAFETY: as CPython gives them, live as long as the call lasts.
        unsafe {
            let [name, args @ ..] = arguments(args, count) else {
                let usage = "erlang.async_call() takes a name and then the function's arguments";
                return Err(wrong(py, usage));
            };
            calls::async_call(py, module, &keep(py, *name)?, args)
        }
    })
}

/// `this` is `(module, name)`.
unsafe extern "C" fn call_by_name(
    this: Argument,
    args: *const Argument,
    count: ffi::Py_ssize_t,
    keys: Argument,
) -> Argument {
    guarded(|py| {
        // SAFETY: `getattr` made the tuple; the rest is as CPython gives it.
        unsafe {
            let this = Object::lent(py, &this);
            let module = this.tuple_item(py, 0).ok_or(Raised)?;
            let name = this.tuple_item(py, 1).ok_or(Raised)?;
            refuse_keywords(py, &name, keys)?;
            calls::call(py, module.as_ptr(), &name, arguments(args, count))
        }
    })
}

/// # Safety
/// `keys` is null or a tuple of names, as CPython gives it.
unsafe fn refuse_keywords(_: Attached<'_>, name: &Object, keys: Argument) -> Result<(), Raised> {
    if keys.is_null() {
        return Ok(());
    }
    // SAFETY: as the caller vouches; each format takes an object.
    unsafe {
        if ffi::PyTuple_Size(keys) > 0 {
            ffi::PyErr_Format(
                ffi::PyExc_TypeError,
                c"the Erlang function %R takes no keyword arguments, as all of Erlang's, \
                  but %R is given"
                    .as_ptr(),
                name.as_ptr(),
                ffi::PyTuple_GetItem(keys, 0),
            );
            return Err(Raised);
        }
    }
    Ok(())
}

unsafe extern "C" fn getattr(module: Argument, name: Argument) -> Argument {
    guarded(|py| {
        // SAFETY: live, as long as the call lasts; the new function keeps the tuple.
        unsafe {
            let name = keep(py, name)?;
            calls::check_attribute(py, &name)?;
            let this = Object::tuple(py, [Object::lent(py, &module), &name]).ok_or(Raised)?;
            function(py, BY_NAME.0.get().cast(), this.as_ptr()).ok_or(Raised)
        }
    })
}

unsafe extern "C" fn send(
    module: Argument,
    args: *mut Argument,
    count: ffi::Py_ssize_t,
) -> Argument {
    guarded(|py| {
        // SAFETY: as CPython gives them, live as long as the call lasts.
        unsafe {
            let [to, term] = arguments(args, count) else {
                return Err(wrong(py, "erlang.send() takes a process and a term"));
            };
            sends::send(py, module, &keep(py, *to)?, &keep(py, *term)?)
        }
    })
}

unsafe extern "C" fn self_(_: Argument, _: Argument) -> Argument {
    guarded(sends::caller)
}

unsafe extern "C" fn whereis(_: Argument, name: Argument) -> Argument {
    // SAFETY: live, as long as the call lasts.
    guarded(|py| sends::whereis(py, &unsafe { keep(py, name) }?))
}

unsafe extern "C" fn restore(_: Argument, args: *mut Argument, count: ffi::Py_ssize_t) -> Argument {
    // SAFETY: as CPython gives them, live as long as the call lasts.
    guarded(|py| pickle::restore(py, unsafe { arguments(args, count) }))
}

unsafe extern "C" fn write(_: Argument, args: *mut Argument, count: ffi::Py_ssize_t) -> Argument {
    guarded(|py| {
        // SAFETY: as CPython gives them, live as long as the call lasts.
        unsafe {
            let [stream, text] = arguments(args, count) else {
                return Err(wrong(py, "write() takes text"));
            };
            io::write(py, stream_number(py, Object::lent(py, stream)), &keep(py, *text)?)
        }
    })
}

unsafe extern "C" fn flush(_: Argument, stream: Argument) -> Argument {
    // SAFETY: live, as long as the call lasts.
    guarded(|py| Ok(io::flush(py, stream_number(py, unsafe { Object::lent(py, &stream) }))))
}

/// The prelude gives 0 and 1.
fn stream_number(py: Attached<'_>, stream: &Object) -> usize {
    usize::from(stream.is_true(py) == Some(true))
}

unsafe extern "C" fn log(_: Argument, args: *mut Argument, count: ffi::Py_ssize_t) -> Argument {
    guarded(|py| {
        // SAFETY: as CPython gives them, live as long as the call lasts.
        unsafe {
            let [severity, message, meta] = arguments(args, count) else {
                return Err(wrong(py, "log() takes a severity, a message and metadata"));
            };
            let severity = ffi::PyLong_AsLong(*severity);
            logs::log(py, severity, &keep(py, *message)?, &keep(py, *meta)?)
        }
    })
}

unsafe extern "C" fn log_level(_: Argument, _: Argument) -> Argument {
    guarded(logs::log_level)
}

unsafe extern "C" fn log_level_is_old(_: Argument, _: Argument) -> Argument {
    guarded(|py| Ok(logs::log_level_is_old(py)))
}

unsafe extern "C" fn log_levels(_: Argument, _: Argument) -> Argument {
    guarded(logs::log_levels)
}

/// The OS process's environment variables, as a `dict` of `bytes`.
unsafe extern "C" fn environ(_: Argument, _: Argument) -> Argument {
    guarded(|py| {
        let variables = Object::dict(py).ok_or(Raised)?;
        // SAFETY: as when CPython itself reads the variables, the GIL is held.
        for (name, value) in unsafe { py_runtime::environment::all() } {
            let name = Object::bytes(py, &name).ok_or(Raised)?;
            let value = Object::bytes(py, &value).ok_or(Raised)?;
            variables.set(py, &name, &value).ok_or(Raised)?;
        }
        Ok(variables)
    })
}

unsafe extern "C" fn namespace(_: Argument, likely: Argument) -> Argument {
    guarded(|py| {
        // SAFETY: live, as long as the call lasts.
        let likely = unsafe { Object::lent(py, &likely) }.is_true(py);
        Ok(job_namespace::namespace(py, likely == Some(true)))
    })
}

unsafe extern "C" fn loop_slot(_: Argument, _: Argument) -> Argument {
    guarded(job_namespace::loop_slot)
}
