//! Where an exception came from, as plain data.
//!
//! Taken only where somebody wants it, because formatting it imports Python's `traceback` and reads
//! source files.

use std::cell::Cell;

use pyo3_ffi as ffi;

use super::raised::clear;
use crate::cpython::object::{Attached, Object};
use crate::cpython::read::{integer_attribute, lossy_text};

/// The way of an exception through the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traceback {
    /// The calls that led to it, the outermost first.
    pub frames: Vec<Frame>,
    /// What Python would print: with source lines, causes and the members of groups.
    pub formatted: String,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The file's name, as the code object has it.
    pub file: String,
    /// The line, from 1.
    pub line: i64,
    /// The function's name, `<module>` at the top level.
    pub function: String,
}

thread_local! {
    static WANTED: Cell<bool> = const { Cell::new(false) };
}

/// As long as it lives, exceptions that are taken on this thread keep their tracebacks, or don't.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct TracebacksWanted {
    before: bool,
}

impl TracebacksWanted {
    /// From now on, until it is dropped.
    pub fn from_now(wanted: bool) -> Self {
        TracebacksWanted { before: WANTED.replace(wanted) }
    }

    /// Whether they are wanted.
    #[must_use]
    pub fn now() -> bool {
        WANTED.get()
    }
}

impl Drop for TracebacksWanted {
    fn drop(&mut self) {
        WANTED.set(self.before);
    }
}

/// Takes down what is known of `raised`. Nothing in here may fail: what can't be had is left out.
pub(super) fn describe(at: Attached<'_>, raised: &Object) -> Traceback {
    // What is taken meanwhile is no exception of the user's.
    let _meanwhile = TracebacksWanted::from_now(false);
    let formatted = format(at, raised).unwrap_or_default();
    clear(at);
    let frames = frames(at, raised);
    clear(at);
    Traceback { frames, formatted }
}

/// `"".join(traceback.format_exception(type(raised), raised, raised.__traceback__))`
fn format(at: Attached<'_>, raised: &Object) -> Option<String> {
    // SAFETY: attached; each call gets live objects, and a failure is a null that ends the chain.
    unsafe {
        let module = Object::from_owned(at, ffi::PyImport_ImportModule(c"traceback".as_ptr()))?;
        let function = module.getattr_c(at, c"format_exception")?;
        let class = Object::from_borrowed(at, ffi::Py_TYPE(raised.as_ptr()).cast())?;
        let trace = raised.getattr_c(at, c"__traceback__")?;
        let lines = Object::from_owned(
            at,
            ffi::PyObject_CallFunctionObjArgs(
                function.as_ptr(),
                class.as_ptr(),
                raised.as_ptr(),
                trace.as_ptr(),
                std::ptr::null_mut::<ffi::PyObject>(),
            ),
        )?;
        let nothing = Object::text(at, "")?;
        let text = Object::from_owned(at, ffi::PyUnicode_Join(nothing.as_ptr(), lines.as_ptr()))?;
        lossy_text(at, &text)
    }
}

fn frames(at: Attached<'_>, raised: &Object) -> Vec<Frame> {
    // Python prints no more of an endless recursion either.
    const MOST: usize = 1000;
    let step = |trace: &Object| trace.getattr_c(at, c"tb_next").filter(|next| !is_none(next));
    let first = raised.getattr_c(at, c"__traceback__").filter(|trace| !is_none(trace));
    std::iter::successors(first, step)
        .take(MOST)
        .filter_map(|trace| {
            let line = integer_attribute(at, &trace, c"tb_lineno")?;
            let code = trace.getattr_c(at, c"tb_frame")?.getattr_c(at, c"f_code")?;
            let text = |name| code.getattr_c(at, name).and_then(|text| lossy_text(at, &text));
            Some(Frame { file: text(c"co_filename")?, line, function: text(c"co_name")? })
        })
        .collect()
}

fn is_none(object: &Object) -> bool {
    // SAFETY: `None` is live in every interpreter.
    object.as_ptr() == unsafe { ffi::Py_None() }
}
