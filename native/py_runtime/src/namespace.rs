//! A context's own namespace: the globals that its code runs in.

use pyo3_ffi as ffi;

use crate::exception::Exception;
use crate::object::{Attached, Object};

/// A fresh dictionary that code can run in: it has the built-ins and calls itself `__main__`.
pub fn new_namespace(at: Attached<'_>) -> Result<Object, Exception> {
    fill(at).ok_or_else(|| Exception::take(at))
}

fn fill(at: Attached<'_>) -> Option<Object> {
    // SAFETY: attached; each call gets live objects, and a failure is a null that ends the chain.
    unsafe {
        let dict = Object::from_owned(at, ffi::PyDict_New())?;
        let builtins = Object::from_owned(at, ffi::PyImport_ImportModule(c"builtins".as_ptr()))?;
        let name = Object::text(at, "__main__")?;
        set(&dict, c"__builtins__", &builtins)?;
        set(&dict, c"__name__", &name)?;
        set(&dict, c"__doc__", &Object::none(at))?;
        Some(dict)
    }
}

/// # Safety
/// Attached, and `dict` is a dictionary.
unsafe fn set(dict: &Object, key: &std::ffi::CStr, value: &Object) -> Option<()> {
    // SAFETY: live objects; the dictionary takes its own reference.
    let status = unsafe { ffi::PyDict_SetItemString(dict.as_ptr(), key.as_ptr(), value.as_ptr()) };
    (status == 0).then_some(())
}
