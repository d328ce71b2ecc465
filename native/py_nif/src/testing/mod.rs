//! What tests have the library do, behind Cargo features that are never shipped: `fuzz` and
//! `faults`.
//!
//! It may use everything. Nothing depends on it but the two places that call it.

#[cfg(feature = "faults")]
pub(crate) mod faults;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
