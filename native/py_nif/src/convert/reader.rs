//! What reading terms needs at hand.

use std::sync::Arc;

use py_runtime::object::Attached;
use rustler::sys::ErlNifEnv;

use super::types::Types;
use crate::resources::contexts::Context;

/// Reads terms of one environment.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) at: Attached<'a>,
    pub(super) types: &'a Types,
    pub(super) context: Option<&'a Arc<Context>>,
    pub(super) env: *mut ErlNifEnv,
}
