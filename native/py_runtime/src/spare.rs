//! Interpreters that are kept for the next context instead of being ended.
//!
//! CPython 3.12 and 3.13 lose memory for every interpreter that is ended (about 0.3 MB, with a GIL
//! of its own over 2 MB); other versions don't. So there an interpreter whose context is gone is
//! reset and set aside, which costs no more memory than ending it would. What a reset
//! undoes is in [`RESET`]; what it can't undo is the state of extension modules, which stay loaded.
//! An interpreter that can't be reset (threads still run in it, or the reset raised) is ended. So is
//! one in which a context couldn't start that then starts in a new one.

use std::collections::HashMap;

use parking_lot::Mutex;
use pyo3_ffi as ffi;

use crate::code::Source;
use crate::interpreter::{self, Vacant};
use crate::mode::Mode;
use crate::namespace::library_namespace;
use crate::object::{Attached, Object};

/// Notes what a new interpreter looks like, and defines `reset`, which makes it look so again.
static RESET: Source = Source::new(include_bytes!("reset.py"), "<reset>");

static SPARES: Mutex<Vec<Vacant>> = Mutex::new(Vec::new());

/// Whether interpreters are kept on the linked Python.
pub(crate) const KEPT: bool = cfg!(all(Py_3_12, not(Py_3_14)));

/// Notes what a new interpreter looks like. `None`: it won't be kept.
pub(crate) fn note(at: Attached<'_>) -> Option<Object> {
    let namespace = library_namespace(at, "py_context_router.reset").ok()?;
    RESET.exec(at, &namespace).ok()?;
    // SAFETY: attached; the namespace is a dictionary, and the value gets a reference.
    unsafe {
        let reset = ffi::PyDict_GetItemString(namespace.as_ptr(), c"reset".as_ptr());
        Object::from_borrowed(at, reset)
    }
}

/// Makes the interpreter look as it was noted to. `false`: it can't be kept.
pub(crate) fn reset(at: Attached<'_>, reset: &Object) -> bool {
    // What runs as the context ends still has its streams and modules, as at an interpreter's end. Called
    // from here, since Python code of ours would be in its tracebacks.
    interpreter::run_exit_functions(at);
    // SAFETY: attached. It does nothing while the collector is switched off.
    unsafe {
        ffi::PyGC_Enable();
        ffi::PyGC_Collect();
    }
    // SAFETY: attached, to the interpreter that the function belongs to.
    let done = unsafe { Object::from_owned(at, ffi::PyObject_CallNoArgs(reset.as_ptr())) };
    if done.is_none() {
        crate::exception::clear(at);
    }
    done.is_some()
}

/// Sets a reset interpreter aside.
pub(crate) fn put(vacant: Vacant) {
    SPARES.lock().push(vacant);
}

/// Takes one of a mode that was set aside.
pub(crate) fn take(mode: Mode) -> Option<Vacant> {
    let mut spares = SPARES.lock();
    let place = spares.iter().rposition(|spare| spare.mode() == mode)?;
    Some(spares.swap_remove(place))
}

/// How often in a row contexts with a certain preload have failed to start in kept interpreters, by the
/// hash of that.
static FAILURES: Mutex<Option<HashMap<u64, u32>>> = Mutex::new(None);
/// More preloads than that don't fail at once; if they do, counting begins anew.
const MOST_COUNTED: usize = 1000;

/// A context with this preload has failed to start in a kept interpreter. Whether to try a new one: each
/// that is made is kept, so that a preload which never works must not make one every time. The first
/// failure in a row is worth one, then the second, fourth, eighth ...
pub(crate) fn is_worth_a_new_one(preload: u64) -> bool {
    let mut failures = FAILURES.lock();
    let failures = failures.get_or_insert_default();
    if failures.len() >= MOST_COUNTED {
        failures.clear();
    }
    let count = failures.entry(preload).or_default();
    *count = count.saturating_add(1);
    count.is_power_of_two()
}

/// A context with this preload has started.
pub(crate) fn has_started(preload: u64) {
    if let Some(failures) = &mut *FAILURES.lock() {
        failures.remove(&preload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preload_that_never_works_takes_a_new_interpreter_ever_less_often() {
        let failures = (1..=100).filter(|_| is_worth_a_new_one(1)).count();
        assert_eq!(failures, 7);
        has_started(1);
        assert!(is_worth_a_new_one(1));
        assert!(is_worth_a_new_one(2), "one doesn't count for another");
    }
}
