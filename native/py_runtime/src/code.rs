//! Compiling and running source text in a namespace.

use std::ffi::{CString, c_int};

use pyo3_ffi as ffi;

use crate::exception::Exception;
use crate::object::{Attached, Object};

/// What the source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One expression, with a value.
    Expression,
    /// Statements.
    Statements,
}

/// Compiles UTF-8 source. A NUL inside is a `ValueError`, as for Python's own `compile`.
pub fn compile(
    at: Attached<'_>,
    source: &[u8],
    filename: &str,
    kind: Kind,
) -> Result<Object, Exception> {
    let (Ok(source), Ok(filename)) = (CString::new(source), CString::new(filename)) else {
        return Err(Exception::new("ValueError", "source code cannot contain null bytes"));
    };
    let start: c_int = match kind {
        Kind::Expression => ffi::Py_eval_input,
        Kind::Statements => ffi::Py_file_input,
    };
    // SAFETY: attached; both texts end in NUL.
    let code = unsafe {
        Object::from_owned(at, ffi::Py_CompileString(source.as_ptr(), filename.as_ptr(), start))
    };
    code.ok_or_else(|| Exception::take(at))
}

/// Runs compiled code. `None`: it raised.
#[must_use]
pub fn run(at: Attached<'_>, code: &Object, globals: &Object, locals: &Object) -> Option<Object> {
    // SAFETY: attached; `code` is a code object and the namespaces are mappings.
    unsafe {
        let value = ffi::PyEval_EvalCode(code.as_ptr(), globals.as_ptr(), locals.as_ptr());
        Object::from_owned(at, value)
    }
}

/// Compiles and runs statements.
pub fn exec(
    at: Attached<'_>,
    source: &[u8],
    filename: &str,
    namespace: &Object,
) -> Result<(), Exception> {
    let code = compile(at, source, filename, Kind::Statements)?;
    run(at, &code, namespace, namespace).map(drop).ok_or_else(|| Exception::take(at))
}
