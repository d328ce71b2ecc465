//! Where an exception came from, as plain data.
//!
//! Taken only where somebody wants it, because formatting it imports Python's `traceback` and reads
//! source files.

use std::cell::Cell;

use pyo3_ffi as ffi;

use super::raised::clear;
use crate::cpython::object::{Attached, Object};
use crate::cpython::read::{integer_attribute, lossy_text};

/// The calls that an exception has passed through.
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

/// As long as it lives, exceptions that are taken on this thread keep their tracebacks, or don't. A
/// guard.
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

/// The traceback of `raised`. Nothing in here may fail: what can't be read is left out.
pub(super) fn describe(py: Attached<'_>, raised: &Object) -> Traceback {
    // What is taken meanwhile is no exception of the user's.
    let _meanwhile = TracebacksWanted::from_now(false);
    let formatted = format(py, raised).unwrap_or_default();
    clear(py);
    let frames = frames(py, raised);
    clear(py);
    Traceback { frames, formatted }
}

/// `"".join(traceback.format_exception(type(raised), raised, raised.__traceback__))`
fn format(py: Attached<'_>, raised: &Object) -> Option<String> {
    let function = Object::import(py, c"traceback")?.getattr_c(py, c"format_exception")?;
    let trace = raised.getattr_c(py, c"__traceback__")?;
    let lines = function.call(py, [&raised.class(py), raised, &trace])?;
    let nothing = Object::text(py, "")?;
    // SAFETY: attached; both are live, and what can't be joined is refused.
    let text =
        unsafe { Object::from_owned(py, ffi::PyUnicode_Join(nothing.as_ptr(), lines.as_ptr())) }?;
    lossy_text(py, &text)
}

fn frames(py: Attached<'_>, raised: &Object) -> Vec<Frame> {
    // Python prints no more of an endless recursion either.
    const MAX_FRAMES: usize = 1000;
    let step = |trace: &Object| trace.getattr_c(py, c"tb_next").filter(|next| !next.is_none());
    let first = raised.getattr_c(py, c"__traceback__").filter(|trace| !trace.is_none());
    std::iter::successors(first, step)
        .take(MAX_FRAMES)
        .filter_map(|trace| {
            let line = integer_attribute(py, &trace, c"tb_lineno")?;
            let code = trace.getattr_c(py, c"tb_frame")?.getattr_c(py, c"f_code")?;
            let text = |name| code.getattr_c(py, name).and_then(|text| lossy_text(py, &text));
            Some(Frame { file: text(c"co_filename")?, line, function: text(c"co_name")? })
        })
        .collect()
}
