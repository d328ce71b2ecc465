//! Python types for terms that Python has no type for: `erlang.Atom`, `Pid`, `Ref` and `Buffer`.
//!
//! Heap types, made for each interpreter by the module `erlang`, which keeps them. Uses
//! [`crate::term`]. It must never make an atom in Erlang.

pub(crate) mod atom;
pub(crate) mod buffer;
pub(crate) mod pid_ref;

use py_runtime::object::Object;

/// The types of one interpreter.
pub(crate) struct Classes {
    pub(crate) atom: Object,
    pub(crate) pid: Object,
    pub(crate) reference: Object,
    pub(crate) buffer: Object,
}
