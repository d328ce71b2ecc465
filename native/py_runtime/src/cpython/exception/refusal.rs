//! Extension modules that refuse an interpreter: what to do about it, which they don't say.
//!
//! Some allow the main interpreter only, others the first one that imports them, whichever that is, for as
//! long as the OS process lives. Each says so in words of its own, and packages that need such a module
//! often raise an error of their own about that.

use std::ffi::CStr;

use pyo3_ffi as ffi;

use super::class::Class;
use super::message::message;
use super::raised::clear;
use crate::cpython::object::{Attached, Object};

/// How many causes of an exception are looked at.
const MOST_CAUSES: usize = 10;

/// What those that refuse say: CPython for them, PyO3, Cython, numpy.
const WORDS: [&str; 7] = [
    "subinterpreter",
    "sub-interpreter",
    "more than once per process",
    "Interpreter change detected",
    "one interpreter per process",
    "numpy._core.multiarray failed to import",
    "numpy.core.multiarray failed to import",
];

const NEEDS_A_WORKER: &str = "\n(An extension module that refuses sub-interpreters works in a worker \
    context: start a pool of mode worker and route the module to it with \
    py_context_router:register_pool/2. One that a subinterp context has imported before works nowhere \
    else until the VM is restarted.)";

const IS_TAKEN: &str = "\n(An extension module that allows one interpreter per process was imported by a \
    context of mode subinterp first, and works nowhere else until the VM is restarted. Import it in \
    workers only: start a pool of mode worker and route the module to it with \
    py_context_router:register_pool/2.)";

/// The hint for an exception that is, or was caused by, such a refusal.
pub(super) fn hint(at: Attached<'_>, raised: &Object) -> Option<&'static str> {
    if !is_of_an_import(at, raised) || !is_refusal(at, raised) {
        return None;
    }
    // SAFETY: attached; neither call can fail.
    let is_main = unsafe { ffi::PyInterpreterState_Get() == ffi::PyInterpreterState_Main() };
    Some(if is_main { IS_TAKEN } else { NEEDS_A_WORKER })
}

/// Whether it is an `ImportError`, or what PyO3 makes of a module's that fails in another module.
fn is_of_an_import(at: Attached<'_>, raised: &Object) -> bool {
    // SAFETY: attached; both are live.
    let is_import =
        unsafe { ffi::PyObject_TypeCheck(raised.as_ptr(), ffi::PyExc_ImportError.cast()) } != 0;
    is_import
        || matches!(Class::of(at, raised), Class::Other(name) if name.ends_with("PanicException"))
}

fn is_refusal(at: Attached<'_>, raised: &Object) -> bool {
    let mut next = Some(raised.clone_ref(at));
    for _ in 0..MOST_CAUSES {
        let Some(exception) = next else { return false };
        let said = message(at, &exception).unwrap_or_default();
        if WORDS.iter().any(|words| said.contains(words)) {
            return true;
        }
        next = related(at, &exception, c"__cause__")
            .or_else(|| related(at, &exception, c"__context__"));
    }
    false
}

fn related(at: Attached<'_>, exception: &Object, how: &CStr) -> Option<Object> {
    let related = exception.getattr_c(at, how);
    clear(at);
    related.filter(|related| related.as_ptr() != Object::none(at).as_ptr())
}
