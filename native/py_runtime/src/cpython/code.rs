//! Compiling and running source text in a namespace.

use std::ffi::{CString, c_int};
use std::sync::OnceLock;

use pyo3_ffi as ffi;

use crate::cpython::exception::Exception;
use crate::cpython::object::{Attached, Object};

/// What the source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One expression, with a value.
    Expression,
    /// Statements.
    Statements,
}

/// Lets statements and expressions wait (`await`) outside of functions: then the code's value is a
/// coroutine (`ast.PyCF_ALLOW_TOP_LEVEL_AWAIT`).
const ALLOW_TOP_LEVEL_AWAIT: c_int = 0x2000;

/// Compiles UTF-8 source. A NUL inside is a `ValueError`, as for Python's own `compile`.
pub fn compile(
    py: Attached<'_>,
    source: &[u8],
    filename: &str,
    kind: Kind,
) -> Result<Object, Exception> {
    let source = c_string(source)?;
    let Ok(filename) = CString::new(filename) else { return Err(null_bytes()) };
    let start: c_int = match kind {
        Kind::Expression => ffi::Py_eval_input,
        Kind::Statements => ffi::Py_file_input,
    };
    let mut flags = ffi::PyCompilerFlags {
        cf_flags: ALLOW_TOP_LEVEL_AWAIT,
        // Not looked at without `PyCF_ONLY_AST`.
        cf_feature_version: 0,
    };
    // SAFETY: attached; both texts end in NUL, and the flags live as long as the call.
    let code = unsafe {
        let (source, filename) = (source.as_ptr(), filename.as_ptr());
        let code = ffi::Py_CompileStringExFlags(source, filename, start, &raw mut flags, -1);
        Object::from_owned(py, code)
    };
    code.ok_or_else(|| Exception::take(py))
}

/// A copy of a source, whose length the caller decides.
fn c_string(source: &[u8]) -> Result<CString, Exception> {
    let mut copy = Vec::new();
    if copy.try_reserve_exact(source.len() + 1).is_err() {
        let message = format!("no memory for source code of {} bytes", source.len());
        return Err(Exception::new("MemoryError", message));
    }
    copy.extend_from_slice(source);
    copy.push(0);
    CString::from_vec_with_nul(copy).map_err(|_| null_bytes())
}

fn null_bytes() -> Exception {
    Exception::new("ValueError", "source code cannot contain null bytes")
}

/// Runs compiled code. `None`: it raised.
#[must_use]
pub fn run(py: Attached<'_>, code: &Object, globals: &Object, locals: &Object) -> Option<Object> {
    // SAFETY: attached; `code` is a code object and the namespaces are mappings.
    unsafe {
        let value = ffi::PyEval_EvalCode(code.as_ptr(), globals.as_ptr(), locals.as_ptr());
        Object::from_owned(py, value)
    }
}

/// Compiles and runs statements.
pub fn exec(
    py: Attached<'_>,
    source: &[u8],
    filename: &str,
    namespace: &Object,
) -> Result<(), Exception> {
    let code = compile(py, source, filename, Kind::Statements)?;
    run(py, &code, namespace, namespace).map(drop).ok_or_else(|| Exception::take(py))
}

/// Statements of the library's own, which are compiled once. What is kept is the text that CPython
/// would keep in a file, because code objects belong to their interpreter.
#[derive(Debug)]
pub struct Source {
    text: &'static [u8],
    filename: &'static str,
    marshalled: OnceLock<Vec<u8>>,
}

impl Source {
    /// Statements, and what tracebacks call their file.
    #[must_use]
    pub const fn new(text: &'static [u8], filename: &'static str) -> Self {
        Source { text, filename, marshalled: OnceLock::new() }
    }

    /// Runs them.
    pub fn exec(&self, py: Attached<'_>, namespace: &Object) -> Result<(), Exception> {
        let code = self.code(py)?;
        run(py, &code, namespace, namespace).map(drop).ok_or_else(|| Exception::take(py))
    }

    /// Their code object, of the interpreter that the thread is attached to.
    pub fn code(&self, py: Attached<'_>) -> Result<Object, Exception> {
        if let Some(bytes) = self.marshalled.get() {
            let length = bytes.len() as ffi::Py_ssize_t;
            // SAFETY: attached; pointer and length are those of one vector.
            let code = unsafe {
                let code = ffi::PyMarshal_ReadObjectFromString(bytes.as_ptr().cast(), length);
                Object::from_owned(py, code)
            };
            return code.ok_or_else(|| Exception::take(py));
        }
        let code = compile(py, self.text, self.filename, Kind::Statements)?;
        // SAFETY: attached; the code object is live.
        let bytes = unsafe {
            let version = ffi::Py_MARSHAL_VERSION;
            let bytes = ffi::PyMarshal_WriteObjectToString(code.as_ptr(), version);
            Object::from_owned(py, bytes)
        };
        let bytes = bytes.ok_or_else(|| Exception::take(py))?;
        // A marshalled object is a `bytes`.
        let contents = bytes.contents(py).ok_or_else(|| Exception::take(py))?;
        let _ = self.marshalled.set(contents.to_vec());
        Ok(code)
    }
}
