//! Everything that can go wrong for a caller, and its one rendering as a term.

use std::sync::Arc;

use py_runtime::exception::{Class, Exception, Traceback};
use py_runtime::quarantine::Quarantine;
use rustler::sys::{
    ErlNifEnv, ErlNifTerm, enif_make_int64, enif_make_list_from_array, enif_make_uint64,
};

use crate::term::{SavedTerm, atom, atom_map, binary, try_binary, tuple};

/// What a caller gets instead of a result. Rendered as `{error, Reason}` by [`Error::to_term`].
#[derive(Clone, Debug)]
pub(crate) enum Error {
    /// Python raised.
    Python(Exception),
    /// A value had no counterpart, was too deep, or raised on its way.
    Convert(ConvertError),
    /// Somebody asked for the job to be interrupted.
    Interrupted,
    /// The context is gone.
    ContextDied(ExitReason),
    /// The context's queue is full.
    Overloaded { queue: usize, max_queue: usize },
    /// As many coroutines as may be are tasks of the context's event loop.
    TooManyTasks { tasks: usize, max_tasks: usize },
    /// Too many threads of the context's pool are stuck.
    Quarantined { stuck: usize, limit: usize },
    /// An object or environment belongs to another context.
    WrongContext(&'static str),
    /// A panic, which is a bug of ours.
    Panicked,
}

/// Why a value could not cross.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConvertError {
    /// A part of the value has no counterpart.
    Unconvertible {
        /// Where it is, from the root: `args[2].x`.
        path: String,
        /// What it is: `bitstring of 3 bits`.
        what: String,
    },
    /// Nested deeper than this many levels, or without end.
    TooDeep(u32),
    /// A handle on an object of another interpreter.
    WrongContext,
    /// A handle on an object whose context has ended.
    ObjectGone,
    /// The context that converts has ended, and can keep no object for a handle.
    ContextEnded,
    /// `to_term` was asked for, and an object of this type has no value as a term.
    NoTerm(String),
    /// Python raised an exception on the way, e.g. `MemoryError`.
    Python(Exception),
}

/// Why a context is gone.
#[derive(Clone, Debug)]
pub(crate) enum ExitReason {
    /// There is no such context (any more). Only for requests that it has not accepted, or that are
    /// about an object that has gone with it: the caller may try another context.
    NoProc,
    /// Its process was killed.
    Killed,
    /// Its thread ended on its own: a bug of ours.
    ThreadEnded,
    /// Its thread did not come back from C code, and was replaced.
    Stuck,
    /// The reason its process gave.
    Reason(Arc<SavedTerm>),
}

impl From<ConvertError> for Error {
    fn from(error: ConvertError) -> Self {
        match error {
            ConvertError::Python(exception) => Error::Python(exception),
            other => Error::Convert(other),
        }
    }
}

impl From<Exception> for Error {
    fn from(exception: Exception) -> Self {
        Error::Python(exception)
    }
}

impl Error {
    /// The error of a pool that takes no new work.
    pub(crate) fn quarantined(pool: &Quarantine) -> Self {
        Error::Quarantined { stuck: pool.stuck(), limit: pool.limit() }
    }

    /// `{error, Reason}`.
    ///
    /// # Safety
    /// `env` belongs to the current thread.
    pub(crate) unsafe fn to_term(&self, env: *mut ErlNifEnv) -> ErlNifTerm {
        // SAFETY: passed on to the caller; every term made here is of `env`.
        unsafe { tuple(env, &[atom(env, "error"), self.reason(env)]) }
    }

    /// # Safety
    /// `env` belongs to the current thread.
    unsafe fn reason(&self, env: *mut ErlNifEnv) -> ErlNifTerm {
        // SAFETY: passed on to the caller; every term made here is of `env`.
        unsafe {
            match self {
                Error::Python(exception) => python(env, exception),
                Error::Convert(ConvertError::Python(exception)) => python(env, exception),
                Error::Convert(ConvertError::Unconvertible { path, what }) => {
                    let path = binary(env, path.as_bytes());
                    tuple(env, &[atom(env, "unconvertible"), path, binary(env, what.as_bytes())])
                }
                Error::Convert(ConvertError::TooDeep(limit)) => {
                    tuple(env, &[atom(env, "too_deep"), enif_make_uint64(env, u64::from(*limit))])
                }
                // Not `context_died`: a caller would take that for the context that it has called,
                // and try another.
                Error::Convert(ConvertError::WrongContext | ConvertError::ObjectGone) => {
                    tuple(env, &[atom(env, "wrong_context"), atom(env, "object")])
                }
                Error::Convert(ConvertError::ContextEnded) => {
                    Error::ContextDied(ExitReason::ThreadEnded).reason(env)
                }
                Error::Convert(ConvertError::NoTerm(class)) => {
                    tuple(env, &[atom(env, "no_term"), binary(env, class.as_bytes())])
                }
                Error::Interrupted => atom(env, "interrupted"),
                Error::ContextDied(death) => {
                    tuple(env, &[atom(env, "context_died"), death.to_term(env)])
                }
                Error::Overloaded { queue, max_queue } => {
                    overloaded(env, [("queue", *queue), ("max_queue", *max_queue)])
                }
                Error::TooManyTasks { tasks, max_tasks } => {
                    overloaded(env, [("tasks", *tasks), ("max_tasks", *max_tasks)])
                }
                Error::Quarantined { stuck, limit } => {
                    overloaded(env, [("quarantined", *stuck), ("limit", *limit)])
                }
                Error::WrongContext(what) => {
                    tuple(env, &[atom(env, "wrong_context"), atom(env, what)])
                }
                Error::Panicked => atom(env, "panicked"),
            }
        }
    }
}

/// # Safety
/// `env` belongs to the current thread.
unsafe fn overloaded(env: *mut ErlNifEnv, figures: [(&str, usize); 2]) -> ErlNifTerm {
    // SAFETY: passed on to the caller.
    unsafe {
        let figures = figures.map(|(key, figure)| (key, enif_make_uint64(env, figure as u64)));
        tuple(env, &[atom(env, "overloaded"), atom_map(env, &figures)])
    }
}

impl ExitReason {
    /// # Safety
    /// `env` belongs to the current thread.
    unsafe fn to_term(&self, env: *mut ErlNifEnv) -> ErlNifTerm {
        // SAFETY: passed on to the caller.
        unsafe {
            match self {
                ExitReason::NoProc => atom(env, "noproc"),
                ExitReason::Killed => atom(env, "killed"),
                ExitReason::ThreadEnded => atom(env, "thread_ended"),
                ExitReason::Stuck => atom(env, "stuck"),
                ExitReason::Reason(reason) => reason.copy_to(env),
            }
        }
    }
}

/// `{Type, Message}`, or with its traceback `{Type, Message, Traceback}`. The type is an atom for
/// Python's built-in classes, else a binary: Python data never makes atoms.
///
/// # Safety
/// `env` belongs to the current thread.
unsafe fn python(env: *mut ErlNifEnv, exception: &Exception) -> ErlNifTerm {
    // SAFETY: passed on to the caller.
    unsafe {
        let class = match &exception.class {
            Class::BuiltIn(name) => atom(env, name),
            Class::Other(name) => text(env, name),
        };
        let message = text(env, &exception.message);
        match &exception.traceback {
            None => tuple(env, &[class, message]),
            Some(trace) => tuple(env, &[class, message, traceback(env, trace)]),
        }
    }
}

/// A text of any length, which Python code has made.
///
/// # Safety
/// `env` belongs to the current thread.
unsafe fn text(env: *mut ErlNifEnv, text: &str) -> ErlNifTerm {
    // SAFETY: passed on to the caller.
    unsafe {
        try_binary(env, text.as_bytes()).unwrap_or_else(|| {
            let length = text.len();
            binary(
                env,
                format!("<a text of {length} bytes, for which there is no memory>").as_bytes(),
            )
        })
    }
}

/// `#{frames => [#{file, line, function}], formatted => Text}`.
///
/// # Safety
/// `env` belongs to the current thread.
unsafe fn traceback(env: *mut ErlNifEnv, trace: &Traceback) -> ErlNifTerm {
    // SAFETY: passed on to the caller; a list from an array of as many terms of `env`.
    unsafe {
        let frames: Vec<_> = trace
            .frames
            .iter()
            .map(|frame| {
                let file = binary(env, frame.file.as_bytes());
                let line = enif_make_int64(env, frame.line);
                let function = binary(env, frame.function.as_bytes());
                atom_map(env, &[("file", file), ("line", line), ("function", function)])
            })
            .collect();
        let count = u32::try_from(frames.len()).expect("their number is bounded");
        let frames = enif_make_list_from_array(env, frames.as_ptr(), count);
        atom_map(env, &[("frames", frames), ("formatted", text(env, &trace.formatted))])
    }
}
