//! What a value without a term stands for: `plain.py`, loaded where it is first needed.

use std::cell::OnceCell;

use py_runtime::code;
use py_runtime::exception::Exception;
use py_runtime::namespace::library_namespace;
use py_runtime::object::{Attached, Object};
use pyo3_ffi as ffi;

use super::{ConvertError, Fail, made, type_name};

const SOURCE: &[u8] = include_bytes!("plain.py");

/// The value that `object` stands for; `loaded` keeps the function that says so.
pub(super) fn stand_in(
    at: Attached<'_>,
    loaded: &OnceCell<Object>,
    object: &Object,
) -> Result<Object, Fail> {
    let function = match loaded.get() {
        Some(function) => function,
        None => {
            let function = load(at)?;
            loaded.get_or_init(|| function)
        }
    };
    // SAFETY: attached; both are live.
    let plain = unsafe {
        let call = ffi::PyObject_CallOneArg(function.as_ptr(), object.as_ptr());
        made(at, call)
    }?;
    // SAFETY: attached; the object is live.
    unsafe {
        if plain.as_ptr() == ffi::Py_NotImplemented() {
            return Err(Fail::of(ConvertError::NoTerm(type_name(object.as_ptr()))));
        }
    }
    Ok(plain)
}

fn load(at: Attached<'_>) -> Result<Object, Fail> {
    let loaded = library_namespace(at, "py_context_router.plain").and_then(|namespace| {
        code::exec(at, SOURCE, "<py_context_router/plain.py>", &namespace)?;
        // SAFETY: attached; the namespace is a dictionary, and the value gets a reference.
        unsafe {
            let function = ffi::PyDict_GetItemString(namespace.as_ptr(), c"plain".as_ptr());
            Object::from_borrowed(at, function).ok_or_else(|| Exception::take(at))
        }
    });
    loaded.map_err(|exception| Fail::of(ConvertError::Python(exception)))
}
