//! Values between Erlang terms and Python objects, both ways, with nothing lost in silence.
//!
//! Runs on a context thread that is attached to its interpreter: never on a scheduler, because a
//! large value takes as long as it takes. The term's environment is that thread's alone.
//!
//! It must never guess: what has no exact counterpart is an error that names the place
//! (`args[2].x`), two keys that would become one are an error, and an atom is never minted from
//! Python data. It keeps no Python state of its own; what belongs to an interpreter is in [`Types`].

pub(crate) mod buffer;
mod container;
mod foreign;
mod number;
pub(crate) mod opaque;
mod plain;
mod py_to_term;
mod stack;
mod tensor;
mod term_to_py;
pub(crate) mod text;

use std::cell::{Cell, OnceCell};
use std::fmt::Display;
use std::sync::Arc;

use py_runtime::exception::Exception;
use py_runtime::object::{Attached, Object};
use pyo3_ffi as ffi;
use rustler::sys::{ErlNifEnv, ErlNifTerm, enif_get_list_cell, enif_get_list_length};

use crate::directory::Context;
use crate::python_module;
use crate::term::OwnedEnv;
pub(crate) use container::{Pairs, know_runtime};
use py_to_term::Writer;
use term_to_py::Reader;
use text::KnownAtoms;

/// What conversion needs to have at hand in one interpreter. Made and dropped on its thread.
pub struct Types {
    pub(crate) atom: Object,
    pub(crate) pid: Object,
    pub(crate) reference: Object,
    buffer: Object,
    known: KnownAtoms,
    /// The functions of `plain.rs`.
    plain: OnceCell<Object>,
    array: OnceCell<Object>,
    /// Room for the parts of what is converted, empty between conversions.
    parts: Cell<Vec<ErlNifTerm>>,
}

impl Types {
    /// Imports the built-in module `erlang` and takes its types.
    ///
    /// # Errors
    /// The import's exception, or an `ImportError` when something else goes by that name.
    pub fn load(py: Attached<'_>) -> Result<Types, Exception> {
        let python_module::Classes { atom, pid, reference, buffer } = python_module::classes(py)?;
        let known = KnownAtoms::new();
        let (plain, array, parts) = (OnceCell::new(), OnceCell::new(), Cell::default());
        Ok(Types { atom, pid, reference, buffer, known, plain, array, parts })
    }
}

/// Why a value could not cross.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConvertError {
    /// A part of the value has no counterpart.
    Unconvertible {
        /// Where it is, from the root: `args[2].x`.
        path: String,
        /// What it is: `bitstring of 3 bits`.
        what: String,
    },
    /// Nested deeper than this many levels, or without end.
    TooDeep(u32),
    /// A handle on an object of another interpreter.
    WrongContext,
    /// A handle on an object whose context has ended.
    ObjectGone,
    /// The context that does this has ended, and can keep no object for a handle.
    ContextEnded,
    /// `to_term` was asked for, and an object of this type stands for nothing else.
    NoTerm(String),
    /// Python raised an exception on the way, e.g. `MemoryError`.
    Python(Exception),
}

/// Whose conventions terms follow that are made from Python's values. The other way, both are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Values {
    /// `None` is `none`, and a handle on an object a reference.
    #[default]
    Erlang,
    /// `None` is `nil`, and a handle on an object the struct `Py.Object`.
    Elixir,
}

/// Converts values in one interpreter.
pub struct Converter<'a> {
    /// Proof that this thread is attached to the interpreter of `types`.
    pub py: Attached<'a>,
    /// The interpreter's types.
    pub types: &'a Types,
    /// The context whose thread this is: it will hold what has no term. A thread that Python code
    /// started has none, and what has no term is an error there.
    pub context: Option<&'a Arc<Context>>,
    /// How terms for Python's values look.
    pub values: Values,
    /// How many containers may be nested in one value, if the stack has room for so many. One level
    /// takes up to 260 bytes of it in a release build: 8000 levels fit in 2 MiB, as measured.
    pub max_depth: u32,
}

impl Converter<'_> {
    /// The Python object for a term. `root` names the term in errors.
    ///
    /// # Errors
    /// See [`ConvertError`].
    ///
    /// # Safety
    /// `term` belongs to `env`, which nobody else changes meanwhile.
    pub unsafe fn to_python(
        &self,
        env: *mut ErlNifEnv,
        term: ErlNifTerm,
        root: impl Display,
    ) -> Result<Object, ConvertError> {
        let reader = self.reader(env);
        let room = stack::room(self.max_depth);
        // SAFETY: passed on to the caller.
        unsafe { reader.value(term, room) }.map_err(|fail| fail.rooted(&root.to_string(), room))
    }

    /// Appends the objects for the elements of a proper list to `out`; they are called `args[0]`,
    /// `args[1]`, … in errors.
    ///
    /// # Errors
    /// See [`ConvertError`]. `out` may then hold some of them.
    ///
    /// # Safety
    /// `list` belongs to `env`, which nobody else changes meanwhile.
    pub unsafe fn to_arguments(
        &self,
        env: *mut ErlNifEnv,
        list: ErlNifTerm,
        out: &mut Vec<Object>,
    ) -> Result<(), ConvertError> {
        const ROOT: &str = "args";
        let reader = self.reader(env);
        let room = stack::room(self.max_depth);
        let mut length = 0;
        // SAFETY: `list` belongs to `env`, as the caller vouches.
        if unsafe { enif_get_list_length(env, list, &raw mut length) } == 0 {
            return Err(Fail::refuse("not a proper list").rooted(ROOT, room));
        }
        if out.try_reserve(length as usize).is_err() {
            return Err(Fail::no_memory(self.py).rooted(ROOT, room));
        }
        let (mut head, mut rest) = (list, list);
        for index in 0..length as usize {
            // SAFETY: as above; the list has `length` cells, so both outputs are written, and the
            // elements belong to `env` too.
            let value = unsafe {
                enif_get_list_cell(env, rest, &raw mut head, &raw mut rest);
                reader.value(head, room)
            };
            out.push(value.map_err(|fail| fail.under(|| format!("[{index}]")).rooted(ROOT, room))?);
        }
        Ok(())
    }

    /// `#{dtype, shape, data}` of an object that offers the buffer protocol, built in `env`. Its memory
    /// is copied unless it never changes or, with `share`, is contiguous.
    ///
    /// # Errors
    /// See [`ConvertError`].
    ///
    /// # Safety
    /// `env` is a process-independent environment that nobody else uses meanwhile. With `share`,
    /// nobody changes the object's bytes from now on.
    pub unsafe fn to_buffer(
        &self,
        env: *mut ErlNifEnv,
        object: &Object,
        share: bool,
    ) -> Result<ErlNifTerm, ConvertError> {
        let mut writer = Writer::new(self, env, false);
        let room = stack::room(self.max_depth);
        // SAFETY: passed on to the caller.
        unsafe { tensor::to_term(&mut writer, object, share, room) }
            .map_err(|fail| fail.rooted("object", room))
    }

    fn reader(&self, env: *mut ErlNifEnv) -> Reader<'_> {
        Reader { py: self.py, types: self.types, context: self.context, env }
    }

    /// The term for a Python object, built in `env`. The object is called `result` in errors. What
    /// has no term becomes a handle or, with `plainly`, what it stands for.
    ///
    /// # Errors
    /// See [`ConvertError`]. `env` may then hold pieces that are no part of anything.
    ///
    /// # Safety
    /// `env` is a process-independent environment that nobody else uses meanwhile.
    pub unsafe fn to_term(
        &self,
        env: *mut ErlNifEnv,
        value: &Object,
        plainly: bool,
    ) -> Result<ErlNifTerm, ConvertError> {
        // SAFETY: passed on to the caller.
        unsafe { self.write(&mut Writer::new(self, env, plainly), value) }
    }

    /// What stands for a Python object, whatever it is, built in `env`.
    ///
    /// # Errors
    /// See [`ConvertError`].
    ///
    /// # Safety
    /// As for [`to_term`](Self::to_term).
    pub unsafe fn to_handle(
        &self,
        env: *mut ErlNifEnv,
        value: Object,
    ) -> Result<ErlNifTerm, ConvertError> {
        let room = stack::room(self.max_depth);
        Writer::new(self, env, false).handle(value).map_err(|fail| fail.rooted("result", room))
    }

    /// As [`to_term`](Self::to_term), of a value that nobody needs after. It and what else takes its
    /// time to be freed are left in `remains`, for after the reply.
    ///
    /// # Errors
    /// See [`ConvertError`].
    ///
    /// # Safety
    /// As for `to_term`.
    pub unsafe fn last_to_term(
        &self,
        env: *mut ErlNifEnv,
        value: Object,
        plainly: bool,
        remains: &mut Remains,
    ) -> Result<ErlNifTerm, ConvertError> {
        let mut writer = Writer::new(self, env, plainly);
        writer.given = value.as_ptr();
        // SAFETY: passed on to the caller.
        let term = unsafe { self.write(&mut writer, &value) };
        remains.scratch = writer.scratch.take();
        // A failed conversion hasn't met all there is.
        remains.value = (term.is_ok() && writer.is_plain).then_some(value);
        term
    }

    /// # Safety
    /// As for [`to_term`](Self::to_term), with the writer's environment.
    unsafe fn write(
        &self,
        writer: &mut Writer<'_>,
        value: &Object,
    ) -> Result<ErlNifTerm, ConvertError> {
        let room = stack::room(self.max_depth);
        // SAFETY: `value` is live; the caller vouches for the environment.
        unsafe { writer.value(value.as_ptr(), room) }.map_err(|fail| fail.rooted("result", room))
    }
}

/// What a conversion leaves behind. Dropped attached, like every [`Object`].
///
/// No object is among it whose end could run Python code: what a job's code says has to be heard
/// before the job's reply.
#[derive(Debug, Default)]
pub struct Remains {
    value: Option<Object>,
    scratch: Option<OwnedEnv>,
}

/// A failure on its way out of the nested value. One word wide, because every level returns it.
#[derive(Debug)]
struct Fail(Box<Cause>);

#[derive(Debug)]
enum Cause {
    /// `steps` from the culprit up to the root: known only while unwinding, so that the good case
    /// never builds a path.
    Unconvertible {
        steps: Vec<String>,
        what: String,
    },
    TooDeep,
    /// Has no place: it is the same wherever in the value it is.
    Other(ConvertError),
}

impl Fail {
    #[cold]
    fn refuse(what: impl Into<String>) -> Self {
        Fail(Box::new(Cause::Unconvertible { steps: Vec::new(), what: what.into() }))
    }

    #[cold]
    fn too_deep() -> Self {
        Fail(Box::new(Cause::TooDeep))
    }

    #[cold]
    fn of(error: ConvertError) -> Self {
        Fail(Box::new(Cause::Other(error)))
    }

    /// Takes the Python exception that is set.
    #[cold]
    fn raised(py: Attached<'_>) -> Self {
        Fail::of(ConvertError::Python(Exception::take(py)))
    }

    /// `MemoryError`.
    #[cold]
    fn no_memory(py: Attached<'_>) -> Self {
        // SAFETY: attached.
        unsafe { ffi::PyErr_NoMemory() };
        Fail::raised(py)
    }

    /// The same failure, seen from one level further out.
    #[cold]
    fn under(mut self, step: impl FnOnce() -> String) -> Self {
        if let Cause::Unconvertible { steps, .. } = &mut *self.0 {
            steps.push(step());
        }
        self
    }

    #[cold]
    fn rooted(self, root: &str, max_depth: u32) -> ConvertError {
        match *self.0 {
            Cause::Unconvertible { steps, what } => {
                let steps = steps.iter().rev().map(String::as_str);
                let path = std::iter::once(root).chain(steps).collect();
                ConvertError::Unconvertible { path, what }
            }
            Cause::TooDeep => ConvertError::TooDeep(max_depth),
            Cause::Other(error) => error,
        }
    }
}

/// Takes over the result of a C API call that returns a new reference.
///
/// # Safety
/// `ptr` is a reference that the caller owns and gives up, or null with an exception set.
unsafe fn made(py: Attached<'_>, ptr: *mut ffi::PyObject) -> Result<Object, Fail> {
    // SAFETY: as the caller vouches.
    unsafe { Object::from_owned(py, ptr) }.ok_or_else(|| Fail::raised(py))
}

/// The name of an object's type, for messages.
///
/// # Safety
/// `value` is a live object and the thread is attached.
unsafe fn type_name(value: *mut ffi::PyObject) -> String {
    // SAFETY: every type has a name that ends in NUL and lives as long as the type.
    let name = unsafe { std::ffi::CStr::from_ptr((*ffi::Py_TYPE(value)).tp_name) };
    let name = name.to_string_lossy();
    // A type made in C names its module too: `numpy.ndarray`, `datetime.date`.
    name.rsplit('.').next().unwrap_or(&name).to_owned()
}

/// `.name` for a key that reads like one, `[Key]` for others.
///
/// # Safety
/// `key` belongs to `env`.
#[cold]
unsafe fn key_step(env: *mut ErlNifEnv, key: ErlNifTerm) -> String {
    // SAFETY: `key` belongs to `env`.
    unsafe {
        let name = text::inspect(env, key)
            .and_then(|bytes| std::str::from_utf8(bytes).ok().filter(|name| is_name(name)))
            .map(str::to_owned)
            .or_else(|| text::atom_name(env, key));
        match name {
            Some(name) if is_name(&name) => format!(".{name}"),
            _ => format!("[{}]", opaque::print(key)),
        }
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|first: char| first.is_alphabetic() || first == '_')
        && text.chars().all(|character| character.is_alphanumeric() || character == '_')
}

/// `.name` for a key that reads like one, `[key]` for others.
#[cold]
fn object_step(py: Attached<'_>, key: &Object) -> String {
    // SAFETY: `key` is live and lends its text for the moment.
    let name = unsafe {
        if ffi::PyUnicode_CheckExact(key.as_ptr()) != 0 {
            text::utf8(py, key.as_ptr()).ok().and_then(|text| std::str::from_utf8(text).ok())
        } else {
            None
        }
    };
    match name {
        Some(name) if is_name(name) => format!(".{name}"),
        _ => format!("[{}]", show(py, key)),
    }
}

/// A key for a message: numbers, text and bytes as Python prints them, of others the type, because
/// their `repr` could be anything, also endless.
#[cold]
fn show(py: Attached<'_>, key: &Object) -> String {
    const LONGEST: usize = 60;
    let ptr = key.as_ptr();
    // SAFETY: `key` is live; the exact types' `repr` runs no user code.
    unsafe {
        let plain = ffi::PyUnicode_CheckExact(ptr) != 0
            || ffi::PyBytes_CheckExact(ptr) != 0
            || ffi::PyLong_CheckExact(ptr) != 0
            || ffi::PyFloat_CheckExact(ptr) != 0;
        let shown = if plain { Object::from_owned(py, ffi::PyObject_Repr(ptr)) } else { None };
        let Some(shown) = shown.and_then(|shown| py_runtime::exception::lossy_text(py, &shown))
        else {
            py_runtime::exception::clear(py);
            return type_name(ptr);
        };
        match shown.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", &shown[..end]),
            None => shown,
        }
    }
}
