//! Names of modules, functions and variables, from terms to Python strings.
//!
//! Runs on a context thread. Atoms stand for the same text for the VM's whole life, so each context
//! keeps the interned string of every atom it has met: a call by atoms makes no strings. Other
//! names are not interned: CPython 3.12 keeps interned strings for ever, and their number has no
//! bound.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use py_runtime::exception::Exception;
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifTerm, enif_is_atom};

use crate::request::error::{ConvertError, Error};
use crate::term::{self, BuildWordHasher, to_bits};

/// How many atoms a context remembers: more than a program calls.
const MAX_NAMES: usize = 4096;

/// A name, whole and at its dots.
pub(crate) struct Name {
    /// The whole name.
    pub(crate) whole: Object,
    /// Its parts: one for `sqrt`, two for `datetime.now`.
    pub(crate) parts: Vec<Object>,
    /// Whether it is `__main__`.
    pub(crate) is_main: bool,
    /// Whether one of its parts may be an attribute that every module has from its class.
    pub(crate) is_special: bool,
    /// The module of this name that was last found with its import complete.
    pub(crate) module: Cell<Option<Object>>,
}

type NamesByAtom = HashMap<usize, Rc<Name>, BuildWordHasher>;

/// The names of one context.
#[derive(Default)]
pub(crate) struct NameCache {
    by_atom: RefCell<NamesByAtom>,
}

impl NameCache {
    /// The name that a term (atom or UTF-8 binary) stands for.
    ///
    /// # Safety
    /// `term` belongs to `env`, which nobody else changes meanwhile.
    pub(crate) unsafe fn get(
        &self,
        py: Attached<'_>,
        env: *mut ErlNifEnv,
        term: ErlNifTerm,
        what: &str,
    ) -> Result<Rc<Name>, Error> {
        // SAFETY: the caller vouches for the term.
        if unsafe { enif_is_atom(env, term) } == 0 {
            // SAFETY: as above.
            return Ok(Rc::new(unsafe { read(py, env, term, what, Object::text) }?));
        }
        if let Some(name) = self.by_atom.borrow().get(&to_bits(term)) {
            return Ok(Rc::clone(name));
        }
        // SAFETY: as above.
        let name = Rc::new(unsafe { read(py, env, term, what, Object::interned) }?);
        if self.by_atom.borrow().len() >= MAX_NAMES {
            // Dropped when it isn't borrowed any more: the end of a module may run Python code.
            drop(self.by_atom.take());
        }
        self.by_atom.borrow_mut().insert(to_bits(term), Rc::clone(&name));
        Ok(name)
    }
}

/// # Safety
/// `term` belongs to `env`, which nobody else changes meanwhile.
unsafe fn read(
    py: Attached<'_>,
    env: *mut ErlNifEnv,
    term: ErlNifTerm,
    what_for: &str,
    make: fn(Attached<'_>, &str) -> Option<Object>,
) -> Result<Name, Error> {
    // SAFETY: passed on to the caller.
    let text = unsafe { text_of(env, term) }.ok_or_else(|| {
        Error::Convert(ConvertError::Unconvertible {
            path: what_for.into(),
            what: "not a name: an atom or a UTF-8 binary of at most 65536 bytes is needed".into(),
        })
    })?;
    // SAFETY: the caller vouches for the term.
    let is_atom = unsafe { enif_is_atom(env, term) } != 0;
    if let Some(alias) = text.strip_prefix("Elixir.").filter(|_| is_atom) {
        let what = format!("Elixir's {alias}, which is no name in Python: write it as Python does");
        return Err(Error::Convert(ConvertError::Unconvertible { path: what_for.into(), what }));
    }
    let made = |part| make(py, part).ok_or_else(|| Exception::take(py));
    let parts = text.split('.').map(made).collect::<Result<_, _>>()?;
    Ok(Name {
        whole: made(&text)?,
        parts,
        is_main: text == "__main__",
        is_special: text.split('.').any(|part| part.starts_with("__")),
        module: Cell::default(),
    })
}

/// How many bytes a name may have. It is copied, as a whole and in parts.
const MAX_NAME: usize = 64 << 10;

/// # Safety
/// `term` belongs to `env`, which nobody else changes meanwhile.
unsafe fn text_of(env: *mut ErlNifEnv, term: ErlNifTerm) -> Option<String> {
    // SAFETY: passed on to the caller; the bytes are copied.
    unsafe {
        match term::inspect(env, term) {
            Some(bytes) if bytes.len() > MAX_NAME => None,
            Some(bytes) => std::str::from_utf8(bytes).ok().map(String::from),
            None => term::atom_name(env, term),
        }
    }
}
