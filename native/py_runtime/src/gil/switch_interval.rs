//! CPython's switch interval: how long a thread waits for the GIL before it asks the holder to
//! release it. One setting for all interpreters that share a GIL.

use std::time::Duration;

use pyo3_ffi as ffi;

use crate::cpython::code;
use crate::cpython::exception::Exception;
use crate::cpython::namespace::library_namespace;
use crate::cpython::object::{Attached, Object};

/// A pure-Python loop yields after this long. CPython's 5 ms would be noticeable.
pub(crate) const SWITCH_INTERVAL: Duration = Duration::from_micros(300);

/// Bounds what Python code can set by CPython's own switch interval: all that share the GIL have
/// one, and with a long one neither other contexts nor interrupts get the GIL from a job that
/// computes.
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
    // SAFETY: attached; the name ends in NUL, and what it names is borrowed from `sys`.
    let function = unsafe {
        let function = ffi::PySys_GetObject(c"setswitchinterval".as_ptr().cast_mut());
        Object::from_borrowed(py, function)
    };
    let seconds = Object::float(py, SWITCH_INTERVAL.as_secs_f64());
    let set = function.zip(seconds).and_then(|(function, seconds)| function.call1(py, &seconds));
    set.map(drop).ok_or_else(|| Exception::take(py))
}
