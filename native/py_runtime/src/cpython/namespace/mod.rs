//! The globals that code runs in: a context's own namespace, and private ones of its users.
//!
//! This file makes them; how private ones inherit from the context's own is in `private.rs`.

mod entries;
mod private;

use std::ffi::CStr;

use pyo3_ffi as ffi;

use crate::cpython::exception::Exception;
use crate::cpython::object::{Attached, Object};

#[cfg(Py_3_12)]
pub(crate) use entries::pairs;
pub use private::{Inherited, Private, Release, Replaced};

const MAIN: &CStr = c"__main__";

/// A fresh dictionary that users' code can run in, with what the globals of a script have.
pub fn new_namespace(py: Attached<'_>) -> Result<Object, Exception> {
    let made = Object::dict(py).filter(|dict| fill(py, dict).is_some());
    made.ok_or_else(|| Exception::take(py))
}

/// A fresh dictionary for the library's own code. Its `__name__` is not `__main__`, which is the
/// name of users' code.
pub fn library_namespace(py: Attached<'_>, name: &str) -> Result<Object, Exception> {
    let make = || {
        let dict = Object::dict(py)?;
        dict.set_item(py, c"__builtins__", &Object::import(py, c"builtins")?)?;
        dict.set_item(py, c"__name__", &Object::text(py, name)?)?;
        Some(dict)
    };
    make().ok_or_else(|| Exception::take(py))
}

/// Gives a dictionary what the globals of a script begin with. `None`: exception set.
fn fill(py: Attached<'_>, dict: &Object) -> Option<()> {
    let builtins = Object::import(py, c"builtins")?;
    let none = Object::none(py);
    let loader = builtins.getattr_c(py, c"__loader__").unwrap_or_else(|| {
        crate::cpython::exception::clear(py);
        Object::none(py)
    });
    dict.set_item(py, c"__name__", &Object::text(py, "__main__")?)?;
    dict.set_item(py, c"__doc__", &none)?;
    dict.set_item(py, c"__package__", &none)?;
    // The importer of built-in modules, as for a script.
    dict.set_item(py, c"__loader__", &loader)?;
    dict.set_item(py, c"__spec__", &none)?;
    // From 3.14 on annotations are evaluated when they are asked for.
    #[cfg(not(Py_3_14))]
    dict.set_item(py, c"__annotations__", &Object::dict(py)?)?;
    dict.set_item(py, c"__builtins__", &builtins)
}

/// The module `__main__` of an interpreter that one context has to itself. Its dictionary is the
/// context's own namespace. As long as this lives it is in `sys.modules`; dropped attached, it puts
/// the interpreter's first `__main__` back, so that nothing keeps the namespace any longer.
#[derive(Debug)]
pub(crate) struct MainModule {
    first: Option<Object>,
}

impl MainModule {
    /// Puts a new module in place. Also gives its dictionary.
    pub(crate) fn install(py: Attached<'_>) -> Result<(Self, Object), Exception> {
        Self::make(py).ok_or_else(|| Exception::take(py))
    }

    fn make(py: Attached<'_>) -> Option<(Self, Object)> {
        // SAFETY: attached; the name ends in NUL, and a module's dictionary lives as long as the
        // module.
        let (module, namespace) = unsafe {
            let module = Object::from_owned(py, ffi::PyModule_New(MAIN.as_ptr()))?;
            let namespace = ffi::PyModule_GetDict(module.as_ptr());
            (module, Object::from_borrowed(py, namespace)?)
        };
        fill(py, &namespace)?;
        let modules = modules(py)?;
        let first = modules.get_item(py, MAIN);
        modules.set_item(py, MAIN, &module)?;
        Some((MainModule { first }, namespace))
    }
}

impl Drop for MainModule {
    fn drop(&mut self) {
        // SAFETY: dropped attached, as every `Object` is.
        let py = unsafe { Attached::assume() };
        let restored = modules(py).zip(self.first.take());
        let restored = restored.and_then(|(modules, first)| modules.set_item(py, MAIN, &first));
        if restored.is_none() {
            crate::cpython::exception::clear(py);
        }
    }
}

/// `sys.modules`
#[must_use]
pub fn modules(py: Attached<'_>) -> Option<Object> {
    // SAFETY: attached; a live dictionary.
    unsafe { Object::from_borrowed(py, ffi::PyImport_GetModuleDict()) }
}
