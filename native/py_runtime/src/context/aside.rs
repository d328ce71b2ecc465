//! What a waiting job is in the middle of, put away so that jobs on top of it don't meet it.
//!
//! CPython keeps it in the thread's state, and all jobs of a context share that: the exception that
//! is being handled, which a job on top would find in `sys.exc_info()` and as the context of its
//! own, and the running event loop, beside which asyncio starts no other.

use std::ptr::null_mut;

use pyo3_ffi as ffi;

use crate::object::{Attached, Object};

/// Put away, until it is restored.
#[must_use = "the waiting job needs it back"]
pub(super) struct Aside {
    handled: [*mut ffi::PyObject; 3],
    running_loop: Option<Object>,
}

impl Aside {
    pub(super) fn put(at: Attached<'_>) -> Self {
        let mut handled = [null_mut(); 3];
        let [class, value, traceback] = &mut handled;
        // SAFETY: attached; three new references or nulls come out, and nulls go in.
        unsafe {
            ffi::PyErr_GetExcInfo(class, value, traceback);
            ffi::PyErr_SetExcInfo(null_mut(), null_mut(), null_mut());
        }
        let running_loop = running_loop(at);
        if running_loop.is_some() {
            set_running_loop(at, &Object::none(at));
        }
        Aside { handled, running_loop }
    }

    pub(super) fn restore(self, at: Attached<'_>) {
        if let Some(running_loop) = &self.running_loop {
            set_running_loop(at, running_loop);
        }
        let [class, value, traceback] = self.handled;
        // SAFETY: attached; the call takes over the references that `put` was given.
        unsafe { ffi::PyErr_SetExcInfo(class, value, traceback) };
    }
}

/// The module with the functions for it, if anybody has imported it. They may be those in C or, where
/// that part is left out, those in Python.
fn asyncio(at: Attached<'_>) -> Option<Object> {
    let name = Object::interned(at, "asyncio.events")?;
    // SAFETY: attached; the name is a `str`.
    unsafe { Object::from_owned(at, ffi::PyImport_GetModule(name.as_ptr())) }
}

fn running_loop(at: Attached<'_>) -> Option<Object> {
    let found = asyncio(at).and_then(|asyncio| {
        let get = asyncio.getattr_c(at, c"_get_running_loop")?;
        // SAFETY: attached, and the function is live.
        unsafe { Object::from_owned(at, ffi::PyObject_CallNoArgs(get.as_ptr())) }
    });
    crate::exception::clear(at);
    // SAFETY: `None` is live for ever.
    found.filter(|found| found.as_ptr() != unsafe { ffi::Py_None() })
}

fn set_running_loop(at: Attached<'_>, running_loop: &Object) {
    let _ = asyncio(at).and_then(|asyncio| {
        let set = asyncio.getattr_c(at, c"_set_running_loop")?;
        // SAFETY: attached, and both are live.
        unsafe {
            Object::from_owned(at, ffi::PyObject_CallOneArg(set.as_ptr(), running_loop.as_ptr()))
        }
    });
    crate::exception::clear(at);
}
