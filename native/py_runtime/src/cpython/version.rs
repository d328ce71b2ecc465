//! Which Python this library is linked with. Needs no running Python.

use std::ffi::CStr;
use std::path::Path;

use pyo3_ffi as ffi;

/// The linked Python's version, e.g. `3.13.0`. Needs no running Python.
#[must_use]
pub fn version() -> &'static str {
    // SAFETY: `Py_GetVersion` returns a static string and may be called before initialisation.
    let full = unsafe { CStr::from_ptr(ffi::Py_GetVersion()) }.to_str().unwrap_or("unknown");
    full.split_whitespace().next().unwrap_or(full)
}

/// The executable of the Python that this library was built against.
#[must_use]
pub fn build_executable() -> Option<&'static Path> {
    let path = Path::new(env!("PY_RUNTIME_EXECUTABLE"));
    path.is_file().then_some(path)
}
