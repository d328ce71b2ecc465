//! CPython's switch interval: how long a thread that waits for the GIL does so before it asks the holder
//! to give it up. One setting for all interpreters that share a GIL.

use std::time::Duration;

use pyo3_ffi as ffi;

use crate::cpython::code;
use crate::cpython::exception::Exception;
use crate::cpython::namespace::library_namespace;
use crate::cpython::object::{Attached, Object};

/// A pure-Python loop gives way after this long; CPython's 5 ms are felt.
pub(crate) const SWITCH_INTERVAL: Duration = Duration::from_micros(300);

/// CPython's own switch interval is the longest that Python code can set: it is for all that share the GIL, and
/// with a long one neither other contexts nor interrupts get it from a job that computes.
const BOUND: &[u8] = b"
import sys

def _bounded(set_interval):
    def setswitchinterval(interval, /):
        'Set the ideal thread switching delay inside the Python interpreter, at most 5 ms.'
        set_interval(interval)
        if interval > 0.005:
            set_interval(0.005)
    return setswitchinterval

sys.setswitchinterval = _bounded(sys.setswitchinterval)
";

/// Bounds what Python code of this interpreter can set it to.
pub(crate) fn bound(py: Attached<'_>) -> Result<(), Exception> {
    let namespace = library_namespace(py, "py_context_router.switch_interval")?;
    code::exec(py, BOUND, "<switch interval>", &namespace)
}

/// Sets it to [`SWITCH_INTERVAL`], for all that share the GIL.
pub(crate) fn set(py: Attached<'_>) -> Result<(), Exception> {
    // SAFETY: attached; `sys` exists, and its function takes one float.
    let set = unsafe {
        let function = ffi::PySys_GetObject(c"setswitchinterval".as_ptr().cast_mut());
        let function = Object::from_borrowed(py, function);
        let seconds =
            Object::from_owned(py, ffi::PyFloat_FromDouble(SWITCH_INTERVAL.as_secs_f64()));
        match (function, seconds) {
            (Some(function), Some(seconds)) => {
                let call = ffi::PyObject_CallFunctionObjArgs(
                    function.as_ptr(),
                    seconds.as_ptr(),
                    std::ptr::null_mut::<ffi::PyObject>(),
                );
                Object::from_owned(py, call)
            }
            _ => None,
        }
    };
    set.map(drop).ok_or_else(|| Exception::take(py))
}
