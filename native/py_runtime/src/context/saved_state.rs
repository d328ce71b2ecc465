//! What a waiting job is in the middle of, put away so that jobs on top of it don't meet it.
//!
//! CPython keeps it in the thread's state, and all jobs of a context share that: the exception that
//! is being handled, which a job on top would find in `sys.exc_info()` and as the context of its
//! own, and the running event loop with its current task, beside which asyncio starts no other.
//!
//! A generator or coroutine handles exceptions of its own. One that waits and handles none, called by
//! code that does, leaves that code's to be seen by jobs on top: CPython has no way to put it away.

use std::ffi::CStr;
use std::ptr::null_mut;

use pyo3_ffi as ffi;

use crate::cpython::object::{Attached, Object};

const VALUE: usize = 1;

/// Put away, until it is restored.
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
            // It isn't the generator's own, nor does it get it.
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
        // SAFETY: attached; the call takes over the references that `put` was given.
        unsafe { ffi::PyErr_SetExcInfo(class, value, traceback) };
    }
}

/// The exception that is being handled, by the innermost code that handles any: class, value and
/// traceback, as new references or nulls.
fn handled_exception(_: Attached<'_>) -> [*mut ffi::PyObject; 3] {
    let mut handled = [null_mut(); 3];
    let [class, value, traceback] = &mut handled;
    // SAFETY: attached, says the token; three pointers to write to.
    unsafe { ffi::PyErr_GetExcInfo(class, value, traceback) };
    handled
}

/// Gives back what [`handled_exception`] gave.
fn decref_all(handled: [*mut ffi::PyObject; 3]) {
    for object in handled {
        // SAFETY: attached, as its maker was, which has given this reference.
        unsafe { ffi::Py_XDECREF(object) };
    }
}

/// What asyncio is running in this thread. The modules' functions may be those in C or, where that
/// part is left out, those in Python.
struct RunningLoop {
    event_loop: Object,
    /// Up to CPython 3.13 each loop has a current task of its own and this is just that; from 3.14
    /// the thread has one, and while it has, no other loop can enter a task. Not there before 3.12.
    task: Option<Object>,
}

impl RunningLoop {
    fn save(py: Attached<'_>) -> Option<Self> {
        let event_loop = running_loop(py)?;
        let none = Object::none(py);
        // The task goes first and comes back last: it can be changed for the running loop only.
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

/// Has asyncio run nothing in this thread, as it should once a job has ended and what waits below is put
/// away. An interrupt may have come as a run was about to end, and then no loop could be run here any more.
pub(super) fn clear_running_loop(py: Attached<'_>) {
    if let Some(event_loop) = running_loop(py) {
        let none = Object::none(py);
        set_running_loop(py, &none);
        // By this a loop knows that it runs; others than asyncio's own may have none.
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
    let args = [event_loop.as_ptr(), task.as_ptr()];
    // SAFETY: attached; the function and both arguments are live, and there are two of them.
    unsafe {
        let result = ffi::PyObject_Vectorcall(swap.as_ptr(), args.as_ptr(), args.len(), null_mut());
        Object::from_owned(py, result)
    }
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
