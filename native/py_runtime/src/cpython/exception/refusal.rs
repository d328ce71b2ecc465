//! Extension modules that refuse an interpreter: what to do about it, which they don't say.
//!
//! Some allow the main interpreter only. Others allow only the first interpreter that imports them,
//! as long as the OS process lives. Each has its own message, and packages that need such a module
//! often raise an error of their own about that.

use std::ffi::CStr;

use pyo3_ffi as ffi;

use super::class::Class;
use super::message::message;
use super::raised::clear;
use crate::cpython::object::{Attached, Object};

/// How many causes of an exception are followed.
const MAX_CAUSES: usize = 10;

/// Parts of the messages: CPython's for such modules, PyO3's, Cython's, numpy's.
const MESSAGES: [&str; 7] = [
    "subinterpreter",
    "sub-interpreter",
    "more than once per process",
    "Interpreter change detected",
    "one interpreter per process",
    "numpy._core.multiarray failed to import",
    "numpy.core.multiarray failed to import",
];

const NEEDS_A_WORKER: &str = "\n(An extension module that refuses sub-interpreters works in a \
    worker context: start a pool of mode worker and route the module to it with \
    py_context_router:register_pool/2. One that a subinterp context has imported before works \
    nowhere else until the VM is restarted.)";

const IS_TAKEN: &str = "\n(An extension module that allows one interpreter per process was \
    imported by a context of mode subinterp first, and works nowhere else until the VM is \
    restarted. Import it in workers only: start a pool of mode worker and route the module to it \
    with py_context_router:register_pool/2.)";

/// The hint for an exception that is, or was caused by, such a refusal.
pub(super) fn hint(py: Attached<'_>, raised: &Object) -> Option<&'static str> {
    if !is_of_an_import(py, raised) || !is_refusal(py, raised) {
        return None;
    }
    Some(if py.is_in_main_interpreter() { IS_TAKEN } else { NEEDS_A_WORKER })
}

/// Whether it is an `ImportError`, or what PyO3 makes of a module's that fails in another module.
fn is_of_an_import(py: Attached<'_>, raised: &Object) -> bool {
    // SAFETY: attached; both are live.
    let is_import =
        unsafe { ffi::PyObject_TypeCheck(raised.as_ptr(), ffi::PyExc_ImportError.cast()) } != 0;
    is_import
        || matches!(Class::of(py, raised), Class::Other(name) if name.ends_with("PanicException"))
}

fn is_refusal(py: Attached<'_>, raised: &Object) -> bool {
    let mut next = Some(raised.clone_ref(py));
    for _ in 0..MAX_CAUSES {
        let Some(exception) = next else { return false };
        let text = message(py, &exception).unwrap_or_default();
        if MESSAGES.iter().any(|part| text.contains(part)) {
            return true;
        }
        next = related(py, &exception, c"__cause__")
            .or_else(|| related(py, &exception, c"__context__"));
    }
    false
}

fn related(py: Attached<'_>, exception: &Object, how: &CStr) -> Option<Object> {
    let related = exception.getattr_c(py, how);
    clear(py);
    related.filter(|related| !related.is_none())
}
