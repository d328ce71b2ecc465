//! A job, and what it finds on its thread.

use py_runtime::object::{Attached, Object};

use super::host::{Host, JobControl};
use super::local::Local;
use crate::request::decode::RequestTerms;

/// The job that runs, its thread and its context.
pub(crate) struct JobScope<'a> {
    /// Proof of being attached.
    pub(crate) py: Attached<'a>,
    /// The context's own namespace, a `dict`.
    pub(crate) namespace: &'a Object,
    pub(crate) local: &'a Local,
    pub(crate) host: &'a dyn Host,
    pub(crate) control: &'a dyn JobControl,
    pub(crate) request: RequestTerms<'a>,
}
