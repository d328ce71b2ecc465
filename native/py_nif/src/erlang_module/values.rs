//! Conversion of the arguments and results of module `erlang`'s functions.
//!
//! Runs on whatever thread Python code runs on, attached. Unlike in [`crate::exec`], failures are
//! Python exceptions here.

use std::fmt::Display;

use py_runtime::exception::{ErrorClass, Exception};
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifTerm};

use super::current_job::CurrentJob;
use super::state::classes;
use crate::convert::{Converter, Types};
use crate::request::error::ConvertError;
use crate::request::flags::Values;
use crate::settings;
use crate::thread::host::outbound;

/// A Python exception is set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raised;

/// Sets an exception of one of Python's own classes.
pub(super) fn raise(py: Attached<'_>, class: ErrorClass, message: &str) -> Raised {
    class.raise(py, message);
    Raised
}

/// The term for an object, in an environment that is this thread's alone. `root` names the object.
pub(super) fn to_term(
    py: Attached<'_>,
    job: Option<&CurrentJob<'_>>,
    env: *mut ErlNifEnv,
    value: &Object,
    root: impl Display,
) -> Result<ErlNifTerm, Raised> {
    to_term_as(Values::Erlang, py, job, env, value, root)
}

/// As [`to_term`], for a receiver with conventions of its own.
pub(super) fn to_term_as(
    values: Values,
    py: Attached<'_>,
    job: Option<&CurrentJob<'_>>,
    env: *mut ErlNifEnv,
    value: &Object,
    root: impl Display,
) -> Result<ErlNifTerm, Raised> {
    let converted = with_converter(values, py, job, |converter| {
        // SAFETY: the callers' environments are their own.
        unsafe { converter.to_term(env, value, false) }
    });
    converted.map_err(|error| raise_conversion(py, error, root, "Erlang"))
}

/// The object for a term of an environment that nobody changes meanwhile. `root` names the term.
pub(super) fn to_python(
    py: Attached<'_>,
    job: Option<&CurrentJob<'_>>,
    env: *mut ErlNifEnv,
    term: ErlNifTerm,
    root: impl Display,
) -> Result<Object, Raised> {
    try_to_python(py, job, env, term, &root)
        .map_err(|error| raise_conversion(py, error, root, "Python"))
}

/// As [`to_python`], for callers with an alternative.
pub(super) fn try_to_python(
    py: Attached<'_>,
    job: Option<&CurrentJob<'_>>,
    env: *mut ErlNifEnv,
    term: ErlNifTerm,
    root: impl Display,
) -> Result<Object, ConvertError> {
    // SAFETY: the callers' environments are their own.
    with_converter(Values::Erlang, py, job, |converter| unsafe {
        converter.to_python(env, term, root)
    })
}

fn with_converter<T>(
    values: Values,
    py: Attached<'_>,
    job: Option<&CurrentJob<'_>>,
    convert: impl FnOnce(&Converter<'_>) -> Result<T, ConvertError>,
) -> Result<T, ConvertError> {
    let max_depth = settings::max_depth();
    match job {
        Some(job) => {
            let handles = job.scope.host;
            let types = &job.scope.local.types;
            convert(&Converter { py, types, handles, values, max_depth })
        }
        None => {
            let handles = outbound().no_context();
            let types = Types::new(classes(py).map_err(ConvertError::Python)?);
            convert(&Converter { py, types: &types, handles, values, max_depth })
        }
    }
}

fn raise_conversion(
    py: Attached<'_>,
    error: ConvertError,
    root: impl Display,
    side: &str,
) -> Raised {
    match error {
        ConvertError::Unconvertible { path, what } => {
            let path = path.strip_prefix("result").map_or(path.clone(), |p| format!("{root}{p}"));
            let message = format!("{path} has no counterpart in {side}: {what}");
            raise(py, ErrorClass::TypeError, &message)
        }
        ConvertError::TooDeep(limit) => {
            let message = format!("{root} is nested deeper than {limit} levels");
            raise(py, ErrorClass::RecursionError, &message)
        }
        ConvertError::WrongContext => {
            let message = format!("{root} holds a handle on an object of another interpreter");
            raise(py, ErrorClass::TypeError, &message)
        }
        ConvertError::ObjectGone => {
            raise(py, ErrorClass::RuntimeError, "the context of an object has ended")
        }
        ConvertError::ContextEnded => raise(py, ErrorClass::RuntimeError, "the context has ended"),
        ConvertError::NoTerm(class) => {
            let message = format!("{root} has no counterpart in {side}: {class} object");
            raise(py, ErrorClass::TypeError, &message)
        }
        ConvertError::Python(Exception { class, message, .. }) => {
            raise(py, ErrorClass::RuntimeError, &format!("{class}: {message}"))
        }
    }
}

const NOT_RUNNING: &str = "the Erlang application py_context_router is not running";

/// There is no process to send to.
pub(super) fn not_running(py: Attached<'_>) -> Raised {
    raise(py, ErrorClass::RuntimeError, NOT_RUNNING)
}
