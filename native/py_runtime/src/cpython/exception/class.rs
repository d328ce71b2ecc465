//! The class of an exception, as plain data.
//!
//! A built-in class is known by its address, not by its name: a user's `ConnectionError` isn't
//! Python's. The built-in classes are static, and so the same objects in all interpreters, but for
//! `ExceptionGroup`, which each interpreter makes for itself.

use std::fmt;

use pyo3_ffi as ffi;

use super::raised::clear;
use crate::cpython::object::{Attached, Object};
use crate::cpython::read::lossy_text;

/// The class of an exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// One of Python's built-in classes itself.
    BuiltIn(&'static str),
    /// Any other, by its qualified name: `json.decoder.JSONDecodeError`, or `MyError` for one of
    /// `__main__`.
    Other(String),
}

impl Class {
    /// That of a raised exception.
    pub(super) fn of(py: Attached<'_>, raised: &Object) -> Self {
        match built_in(raised.class_ptr().cast()) {
            Some(name) => Class::BuiltIn(name),
            None if is_exception_group(py, raised) => Class::BuiltIn("ExceptionGroup"),
            None => Class::Other(qualified_name(py, &raised.class(py))),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::BuiltIn(name) => name,
            Class::Other(name) => name,
        })
    }
}

/// Whether it is the built-in class of that name.
impl PartialEq<&str> for Class {
    fn eq(&self, name: &&str) -> bool {
        matches!(self, Class::BuiltIn(own) if own == name)
    }
}

/// `module.Class`, as Python prints it: without a module for classes of `__main__`.
fn qualified_name(py: Attached<'_>, class: &Object) -> String {
    let text = |name| {
        let text = class.getattr_c(py, name).and_then(|text| lossy_text(py, &text));
        if text.is_none() {
            clear(py);
        }
        text
    };
    let name = text(c"__qualname__").unwrap_or_else(|| "Exception".into());
    match text(c"__module__") {
        Some(module) if module != "__main__" && module != "builtins" => format!("{module}.{name}"),
        _ => name,
    }
}

/// The name of a built-in class.
fn built_in(class: *mut ffi::PyObject) -> Option<&'static str> {
    macro_rules! look_up {
        ($($(#[$since:meta])? $name:literal: $object:path,)*) => {
            // SAFETY: Python runs, so its classes are there, and nothing replaces them.
            unsafe {
                $($(#[$since])? if class == $object { return Some($name); })*
            }
        };
    }
    look_up! {
        "KeyboardInterrupt": ffi::PyExc_KeyboardInterrupt,
        "ValueError": ffi::PyExc_ValueError,
        "TypeError": ffi::PyExc_TypeError,
        "KeyError": ffi::PyExc_KeyError,
        "AttributeError": ffi::PyExc_AttributeError,
        "NameError": ffi::PyExc_NameError,
        "RuntimeError": ffi::PyExc_RuntimeError,
        "BaseException": ffi::PyExc_BaseException,
        #[cfg(Py_3_11)]
        "BaseExceptionGroup": ffi::PyExc_BaseExceptionGroup,
        "Exception": ffi::PyExc_Exception,
        "StopAsyncIteration": ffi::PyExc_StopAsyncIteration,
        "StopIteration": ffi::PyExc_StopIteration,
        "GeneratorExit": ffi::PyExc_GeneratorExit,
        "ArithmeticError": ffi::PyExc_ArithmeticError,
        "LookupError": ffi::PyExc_LookupError,
        "AssertionError": ffi::PyExc_AssertionError,
        "BufferError": ffi::PyExc_BufferError,
        "EOFError": ffi::PyExc_EOFError,
        "FloatingPointError": ffi::PyExc_FloatingPointError,
        "OSError": ffi::PyExc_OSError,
        "ImportError": ffi::PyExc_ImportError,
        "ModuleNotFoundError": ffi::PyExc_ModuleNotFoundError,
        "IndexError": ffi::PyExc_IndexError,
        "MemoryError": ffi::PyExc_MemoryError,
        "OverflowError": ffi::PyExc_OverflowError,
        "RecursionError": ffi::PyExc_RecursionError,
        "NotImplementedError": ffi::PyExc_NotImplementedError,
        #[cfg(Py_3_13)]
        "PythonFinalizationError": PyExc_PythonFinalizationError,
        "SyntaxError": ffi::PyExc_SyntaxError,
        "IndentationError": ffi::PyExc_IndentationError,
        "TabError": ffi::PyExc_TabError,
        "ReferenceError": ffi::PyExc_ReferenceError,
        "SystemError": ffi::PyExc_SystemError,
        "SystemExit": ffi::PyExc_SystemExit,
        "UnboundLocalError": ffi::PyExc_UnboundLocalError,
        "UnicodeError": ffi::PyExc_UnicodeError,
        "UnicodeEncodeError": ffi::PyExc_UnicodeEncodeError,
        "UnicodeDecodeError": ffi::PyExc_UnicodeDecodeError,
        "UnicodeTranslateError": ffi::PyExc_UnicodeTranslateError,
        "ZeroDivisionError": ffi::PyExc_ZeroDivisionError,
        "BlockingIOError": ffi::PyExc_BlockingIOError,
        "BrokenPipeError": ffi::PyExc_BrokenPipeError,
        "ChildProcessError": ffi::PyExc_ChildProcessError,
        "ConnectionError": ffi::PyExc_ConnectionError,
        "ConnectionAbortedError": ffi::PyExc_ConnectionAbortedError,
        "ConnectionRefusedError": ffi::PyExc_ConnectionRefusedError,
        "ConnectionResetError": ffi::PyExc_ConnectionResetError,
        "FileExistsError": ffi::PyExc_FileExistsError,
        "FileNotFoundError": ffi::PyExc_FileNotFoundError,
        "InterruptedError": ffi::PyExc_InterruptedError,
        "IsADirectoryError": ffi::PyExc_IsADirectoryError,
        "NotADirectoryError": ffi::PyExc_NotADirectoryError,
        "PermissionError": ffi::PyExc_PermissionError,
        "ProcessLookupError": ffi::PyExc_ProcessLookupError,
        "TimeoutError": ffi::PyExc_TimeoutError,
        "Warning": ffi::PyExc_Warning,
        "UserWarning": ffi::PyExc_UserWarning,
        "DeprecationWarning": ffi::PyExc_DeprecationWarning,
        "PendingDeprecationWarning": ffi::PyExc_PendingDeprecationWarning,
        "SyntaxWarning": ffi::PyExc_SyntaxWarning,
        "RuntimeWarning": ffi::PyExc_RuntimeWarning,
        "FutureWarning": ffi::PyExc_FutureWarning,
        "ImportWarning": ffi::PyExc_ImportWarning,
        "UnicodeWarning": ffi::PyExc_UnicodeWarning,
        "BytesWarning": ffi::PyExc_BytesWarning,
        "ResourceWarning": ffi::PyExc_ResourceWarning,
        "EncodingWarning": ffi::PyExc_EncodingWarning,
    }
    None
}

#[cfg(Py_3_13)]
unsafe extern "C" {
    static PyExc_PythonFinalizationError: *mut ffi::PyObject;
}

/// Whether this is an instance of the interpreter's own `ExceptionGroup`. That class can be had
/// from the static one, which makes an instance of it where all members are of class `Exception`;
/// `builtins` may say anything.
#[cfg(Py_3_11)]
fn is_exception_group(py: Attached<'_>, raised: &Object) -> bool {
    if !raised.has_class_name(py, c"ExceptionGroup") {
        return false;
    }
    // SAFETY: attached; Python's own classes and a live object. A failure is a null.
    let group = unsafe {
        let member = Object::from_owned(py, ffi::PyObject_CallNoArgs(ffi::PyExc_Exception));
        member.and_then(|member| {
            let group = ffi::PyObject_CallFunction(
                ffi::PyExc_BaseExceptionGroup,
                c"s[O]".as_ptr(),
                c"".as_ptr(),
                member.as_ptr(),
            );
            Object::from_owned(py, group)
        })
    };
    if group.is_none() {
        clear(py);
    }
    group.is_some_and(|group| group.class_ptr() == raised.class_ptr())
}

/// There was none yet.
#[cfg(not(Py_3_11))]
fn is_exception_group(_: Attached<'_>, _: &Object) -> bool {
    false
}
