//! The state of a conversion to Python.

use py_runtime::object::Attached;
use rustler::sys::ErlNifEnv;

use super::handles::Handles;
use super::types::Types;

/// Reads terms of one environment.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) py: Attached<'a>,
    pub(super) types: &'a Types,
    pub(super) handles: &'a dyn Handles,
    pub(super) env: *mut ErlNifEnv,
}
