//! The parts of conversion that are written in Python: the value of an object without a term
//! (`to_plain.py`), and the description of a numpy array (`array.py`). Loaded when first needed.

use std::cell::OnceCell;
use std::ffi::CStr;

use py_runtime::code;
use py_runtime::exception::Exception;
use py_runtime::ffi;
use py_runtime::namespace::library_namespace;
use py_runtime::object::{Attached, Object};

use super::fail::Fail;
use super::place::type_name;
use crate::request::error::ConvertError;

/// A function of one argument in a source of its own.
struct PythonFunction {
    text: &'static [u8],
    file: &'static str,
    function: &'static CStr,
}

const PLAIN: PythonFunction = PythonFunction {
    text: include_bytes!("to_plain.py"),
    file: "<py_context_router/to_plain.py>",
    function: c"plain",
};

const ARRAY: PythonFunction = PythonFunction {
    text: include_bytes!("array.py"),
    file: "<py_context_router/array.py>",
    function: c"describe",
};

/// The value of an object without a term. `loaded` keeps the function.
pub(super) fn to_plain(
    py: Attached<'_>,
    loaded: &OnceCell<Object>,
    object: &Object,
) -> Result<Object, Fail> {
    let plain = apply(py, loaded, &PLAIN, object)?;
    // SAFETY: `NotImplemented` is live in every interpreter.
    if plain.as_ptr() == unsafe { ffi::Py_NotImplemented() } {
        return Err(Fail::of(ConvertError::NoTerm(type_name(py, object))));
    }
    Ok(plain)
}

/// The element type of an array of numpy's, and the object that exports its memory. `None`: the
/// object is no such array. `loaded` keeps the function.
pub(super) fn describe_array(
    py: Attached<'_>,
    loaded: &OnceCell<Object>,
    object: &Object,
) -> Result<Option<(Object, Object)>, Fail> {
    let pair = apply(py, loaded, &ARRAY, object)?;
    if pair.is_none() {
        return Ok(None);
    }
    // What isn't None is a tuple of two.
    let item = |index| pair.tuple_item(py, index).ok_or_else(|| Fail::raised(py));
    let (dtype, exporter) = (item(0)?, item(1)?);
    if dtype.is_none() {
        return Err(Fail::refuse("array of an element type that has no description"));
    }
    Ok(Some((dtype, exporter)))
}

/// The result of a source's function for an object.
fn apply(
    py: Attached<'_>,
    loaded: &OnceCell<Object>,
    source: &PythonFunction,
    object: &Object,
) -> Result<Object, Fail> {
    let function = match loaded.get() {
        Some(function) => function,
        None => {
            let function = load(py, source)?;
            loaded.get_or_init(|| function)
        }
    };
    function.call1(py, object).ok_or_else(|| Fail::raised(py))
}

fn load(py: Attached<'_>, source: &PythonFunction) -> Result<Object, Fail> {
    let loaded = library_namespace(py, "py_context_router.plain").and_then(|namespace| {
        code::exec(py, source.text, source.file, &namespace)?;
        namespace.get_item(py, source.function).ok_or_else(|| Exception::take(py))
    });
    loaded.map_err(|exception| Fail::of(ConvertError::Python(exception)))
}
