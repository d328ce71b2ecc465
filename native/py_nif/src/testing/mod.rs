//! What tests have the library do, behind Cargo features that are never shipped: `fuzz` and
//! `faults`.
//!
//! Uses [`crate::convert`] and what is below it. Nothing depends on it but the places that call it,
//! under the same features.

#[cfg(feature = "faults")]
pub(crate) mod faults;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
