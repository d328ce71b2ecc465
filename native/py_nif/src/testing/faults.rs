//! Bugs on purpose, for `test/fault_SUITE.erl`.

use py_runtime::exception::ErrorClass;
use py_runtime::object::Attached;
use rustler::sys::{ErlNifEnv, ErlNifTerm};

use crate::term;

/// A panic in the middle of a job, with an exception set, if the module to call is `_fault`: what a
/// bug of ours may leave behind.
pub(crate) fn hit_a_bug(env: *mut ErlNifEnv, module: ErlNifTerm) {
    // SAFETY: the request's terms are read-only.
    let source = unsafe { term::inspect(env, module) };
    if source == Some(b"_fault".as_slice()) {
        // SAFETY: a job runs attached.
        ErrorClass::ValueError.raise_plain(unsafe { Attached::assume() });
        panic!("on purpose, by a test");
    }
}

/// A panic before a context's thread is ready, if the environment asks for it.
pub(crate) fn fail_at_start() {
    assert!(std::env::var_os("PY_FAULT_AT_START").is_none(), "on purpose, by a test");
}
