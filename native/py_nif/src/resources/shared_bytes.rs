//! Binaries that share the memory of a Python object: each holds an export of the object (see
//! `py_runtime::export`). Binaries never change, so only memory is shared that nobody can write to
//! any more.

use std::sync::Arc;

use py_runtime::export::Export;
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifTerm};
use rustler::{Env, Resource, ResourceArc};

use super::contexts::Context;
use crate::request::call::Call;

/// Bytes of a Python object that binaries refer to.
struct SharedBytes(Export<Call>);

#[rustler::resource_impl]
impl Resource for SharedBytes {}

/// A binary that shares the memory of `object`, if that has `at_least` so many bytes. `None`: it
/// can't be shared, and no exception is set.
///
/// # Safety
/// The thread is attached to the context's interpreter, nobody changes the object's bytes from now
/// on, and `env` may be written to.
pub(crate) unsafe fn share(
    py: Attached<'_>,
    context: &Arc<Context>,
    env: *mut ErlNifEnv,
    object: &Object,
    at_least: usize,
) -> Option<ErlNifTerm> {
    // SAFETY: passed on to the caller.
    let Some(export) = (unsafe { Export::new(context, py, object) }) else {
        py_runtime::exception::clear(py);
        return None;
    };
    if export.bytes().len() < at_least {
        return None;
    }
    let shared = ResourceArc::new(SharedBytes(export));
    // SAFETY: `env` belongs to the current thread.
    let env = unsafe { Env::new(&env, env) };
    Some(shared.make_binary(env, |shared| shared.0.bytes()).to_term(env).as_c_arg())
}
