//! What is said of values in Python: what one without a term stands for (`to_plain.py`), and what an
//! array of numpy's is outside (`array.py`). Loaded where they are first needed.

use std::cell::OnceCell;
use std::ffi::CStr;

use py_runtime::code;
use py_runtime::exception::Exception;
use py_runtime::ffi;
use py_runtime::namespace::library_namespace;
use py_runtime::object::{Attached, Object};

use super::fail::{Fail, owned_or_raised};
use super::place::type_name;
use crate::request::error::ConvertError;

/// A function of one argument in a source of its own.
struct Source {
    text: &'static [u8],
    file: &'static str,
    function: &'static CStr,
}

const PLAIN: Source = Source {
    text: include_bytes!("to_plain.py"),
    file: "<py_context_router/to_plain.py>",
    function: c"plain",
};

const ARRAY: Source = Source {
    text: include_bytes!("array.py"),
    file: "<py_context_router/array.py>",
    function: c"describe",
};

/// The value that `object` stands for; `loaded` keeps the function that says so.
pub(super) fn to_plain(
    py: Attached<'_>,
    loaded: &OnceCell<Object>,
    object: &Object,
) -> Result<Object, Fail> {
    let plain = apply(py, loaded, &PLAIN, object)?;
    // SAFETY: attached; the object is live.
    unsafe {
        if plain.as_ptr() == ffi::Py_NotImplemented() {
            return Err(Fail::of(ConvertError::NoTerm(type_name(object.as_ptr()))));
        }
    }
    Ok(plain)
}

/// The element type of an array of numpy's, and the object that exports its memory. `None`: the
/// object is no such array. `loaded` keeps the function that says so.
pub(super) fn describe_array(
    py: Attached<'_>,
    loaded: &OnceCell<Object>,
    object: &Object,
) -> Result<Option<(Object, Object)>, Fail> {
    let pair = apply(py, loaded, &ARRAY, object)?;
    // SAFETY: attached; what isn't None is a tuple of two, whose items get references of our own.
    unsafe {
        if pair.as_ptr() == ffi::Py_None() {
            return Ok(None);
        }
        let item = |index| {
            Object::from_borrowed(py, ffi::PyTuple_GetItem(pair.as_ptr(), index))
                .ok_or_else(|| Fail::raised(py))
        };
        let (dtype, exporter) = (item(0)?, item(1)?);
        if dtype.as_ptr() == ffi::Py_None() {
            return Err(Fail::refuse("array of an element type that has no description"));
        }
        Ok(Some((dtype, exporter)))
    }
}

/// What a source's function says of an object.
fn apply(
    py: Attached<'_>,
    loaded: &OnceCell<Object>,
    source: &Source,
    object: &Object,
) -> Result<Object, Fail> {
    let function = match loaded.get() {
        Some(function) => function,
        None => {
            let function = load(py, source)?;
            loaded.get_or_init(|| function)
        }
    };
    // SAFETY: attached; both are live.
    unsafe { owned_or_raised(py, ffi::PyObject_CallOneArg(function.as_ptr(), object.as_ptr())) }
}

fn load(py: Attached<'_>, source: &Source) -> Result<Object, Fail> {
    let loaded = library_namespace(py, "py_context_router.plain").and_then(|namespace| {
        code::exec(py, source.text, source.file, &namespace)?;
        // SAFETY: attached; the namespace is a dictionary, and the value gets a reference.
        unsafe {
            let function = ffi::PyDict_GetItemString(namespace.as_ptr(), source.function.as_ptr());
            Object::from_borrowed(py, function).ok_or_else(|| Exception::take(py))
        }
    });
    loaded.map_err(|exception| Fail::of(ConvertError::Python(exception)))
}
