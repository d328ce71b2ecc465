//! What conversion keeps in one interpreter: Python's types, Erlang's atoms.

use std::cell::{Cell, OnceCell};

use py_runtime::object::Object;
use rustler::sys::{ErlNifTerm, enif_alloc_env, enif_free_env};

use crate::erlang_types::Classes;
use crate::term::atom;

/// Types, atoms and buffers for conversions in one interpreter. Made and dropped on its thread.
pub(crate) struct Types {
    pub(super) atom: Object,
    pub(super) pid: Object,
    pub(super) reference: Object,
    pub(super) buffer: Object,
    pub(super) known: KnownAtoms,
    /// The functions of `plain.rs`.
    pub(super) plain: OnceCell<Object>,
    pub(super) array: OnceCell<Object>,
    /// A buffer for the parts of containers, empty between conversions.
    pub(super) parts: Cell<Vec<ErlNifTerm>>,
}

impl Types {
    pub(crate) fn new(classes: Classes) -> Self {
        let Classes { atom, pid, reference, buffer } = classes;
        let known = KnownAtoms::new();
        let (plain, array, parts) = (OnceCell::new(), OnceCell::new(), Cell::default());
        Types { atom, pid, reference, buffer, known, plain, array, parts }
    }
}

/// The atoms that mean something. Atoms are the same word in every environment and stay for the
/// VM's life, so they are made once and compared as words.
#[derive(Clone, Copy)]
pub(super) struct KnownAtoms {
    pub(super) r#true: ErlNifTerm,
    pub(super) r#false: ErlNifTerm,
    pub(super) none: ErlNifTerm,
    pub(super) nil: ErlNifTerm,
    pub(super) undefined: ErlNifTerm,
    pub(super) nan: ErlNifTerm,
    pub(super) infinity: ErlNifTerm,
    pub(super) neg_infinity: ErlNifTerm,
    pub(super) bytes: ErlNifTerm,
    pub(super) buffer: ErlNifTerm,
    pub(super) ndarray: ErlNifTerm,
    pub(super) r#struct: ErlNifTerm,
    pub(super) py_object: ErlNifTerm,
    pub(super) r#ref: ErlNifTerm,
}

impl KnownAtoms {
    pub(super) fn new() -> Self {
        // SAFETY: the environment is made for this and freed after; an atom doesn't live in it.
        // Names and lengths come from `&str`s.
        unsafe {
            let env = enif_alloc_env();
            let atom = |name| atom(env, name);
            let known = KnownAtoms {
                r#true: atom("true"),
                r#false: atom("false"),
                none: atom("none"),
                nil: atom("nil"),
                undefined: atom("undefined"),
                nan: atom("nan"),
                infinity: atom("infinity"),
                neg_infinity: atom("neg_infinity"),
                bytes: atom("bytes"),
                buffer: atom("buffer"),
                ndarray: atom("ndarray"),
                r#struct: atom("__struct__"),
                py_object: atom("Elixir.Py.Object"),
                r#ref: atom("ref"),
            };
            enif_free_env(env);
            known
        }
    }

    /// The float that an atom stands for, of those that Erlang's floats can't be.
    pub(super) fn float(&self, atom: ErlNifTerm) -> Option<f64> {
        if atom == self.infinity {
            Some(f64::INFINITY)
        } else if atom == self.neg_infinity {
            Some(f64::NEG_INFINITY)
        } else if atom == self.nan {
            Some(f64::NAN)
        } else {
            None
        }
    }
}
