//! The Python state of a waiting job, saved so that jobs nested in it don't see it.
//!
//! CPython keeps it in the thread's state, which all jobs of a context share: the exception that is
//! being handled, which a nested job would find in `sys.exc_info()` and as the context of its own,
//! and the running event loop with its current task, beside which asyncio starts no other.
//!
//! Exception: a generator or coroutine has an exception state of its own. If one waits that handles
//! no exception, nested jobs see the exception that its caller handles: CPython has no way to save
//! that.

use std::ffi::CStr;
use std::ptr::null_mut;

use pyo3_ffi as ffi;

use crate::cpython::object::{Attached, Object};

const VALUE: usize = 1;

/// What was saved, until it is restored.
#[must_use = "the waiting job needs it back"]
pub(super) struct SavedState {
    handled: [*mut ffi::PyObject; 3],
    running: Option<RunningLoop>,
}

impl SavedState {
    pub(super) fn save(py: Attached<'_>) -> Self {
        let mut handled = handled_exception(py);
        // SAFETY: attached; nulls go in.
        unsafe { ffi::PyErr_SetExcInfo(null_mut(), null_mut(), null_mut()) };
        let outer = handled_exception(py);
        if outer[VALUE] == handled[VALUE] {
            // It isn't the generator's own, and can't be restored to its owner.
            decref_all(handled);
            handled = [null_mut(); 3];
        }
        decref_all(outer);
        let running = RunningLoop::save(py);
        // What asyncio refused is no error of the waiting job.
        crate::cpython::exception::clear(py);
        SavedState { handled, running }
    }

    pub(super) fn restore(self, py: Attached<'_>) {
        if let Some(running) = &self.running {
            running.restore(py);
            crate::cpython::exception::clear(py);
        }
        let [class, value, traceback] = self.handled;
        // SAFETY: attached; the call takes over the references that `save` got.
        unsafe { ffi::PyErr_SetExcInfo(class, value, traceback) };
    }
}

/// The exception that is being handled, by the innermost code that handles any: class, value and
/// traceback, as new references or nulls.
fn handled_exception(_: Attached<'_>) -> [*mut ffi::PyObject; 3] {
    let mut handled = [null_mut(); 3];
    let [class, value, traceback] = &mut handled;
    // SAFETY: attached, as the token proves; three pointers to write to.
    unsafe { ffi::PyErr_GetExcInfo(class, value, traceback) };
    handled
}

/// Drops the references that [`handled_exception`] has returned.
fn decref_all(handled: [*mut ffi::PyObject; 3]) {
    for object in handled {
        // SAFETY: attached, as the caller is; `handled_exception` has returned this reference.
        unsafe { ffi::Py_XDECREF(object) };
    }
}

/// What asyncio runs in this thread. Its functions may be those in C or, where that part is left
/// out, those in Python.
struct RunningLoop {
    event_loop: Object,
    /// The current task. Up to CPython 3.13 each loop has one; from 3.14 the thread has one, and
    /// while it has, no other loop can enter a task. Not saved before 3.12.
    task: Option<Object>,
}

impl RunningLoop {
    fn save(py: Attached<'_>) -> Option<Self> {
        let event_loop = running_loop(py)?;
        let none = Object::none(py);
        // The task is removed first and restored last: it can be changed for the running loop only.
        let task = swap_current_task(py, &event_loop, &none);
        set_running_loop(py, &none);
        Some(RunningLoop { event_loop, task })
    }

    fn restore(&self, py: Attached<'_>) {
        set_running_loop(py, &self.event_loop);
        if let Some(task) = &self.task {
            swap_current_task(py, &self.event_loop, task);
        }
    }
}

/// Has asyncio run nothing in this thread, as is right when a job has ended and the state of outer
/// ones is saved. An interrupt may have come as a run was about to end, and then no loop could run
/// here any more.
pub(super) fn clear_running_loop(py: Attached<'_>) {
    if let Some(event_loop) = running_loop(py) {
        let none = Object::none(py);
        set_running_loop(py, &none);
        // A loop knows by this that it runs; loops other than asyncio's own may have none.
        // SAFETY: attached, and both are live.
        unsafe {
            ffi::PyObject_SetAttrString(event_loop.as_ptr(), c"_thread_id".as_ptr(), none.as_ptr())
        };
    }
    crate::cpython::exception::clear(py);
}

fn running_loop(py: Attached<'_>) -> Option<Object> {
    let get = function(py, "asyncio.events", c"_get_running_loop")?;
    get.call0(py).filter(|event_loop| !event_loop.is_none())
}

fn swap_current_task(py: Attached<'_>, event_loop: &Object, task: &Object) -> Option<Object> {
    let swap = function(py, "asyncio.tasks", c"_swap_current_task")?;
    swap.call(py, [event_loop, task])
}

fn set_running_loop(py: Attached<'_>, event_loop: &Object) {
    if let Some(set) = function(py, "asyncio.events", c"_set_running_loop") {
        drop(set.call1(py, event_loop));
    }
}

/// A function of a module, if anybody has imported that.
fn function(py: Attached<'_>, module: &str, name: &CStr) -> Option<Object> {
    Object::imported(py, module)?.getattr_c(py, name)
}
