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
pub(super) struct Aside {
    handled: [*mut ffi::PyObject; 3],
    running: Option<Running>,
}

impl Aside {
    pub(super) fn put(at: Attached<'_>) -> Self {
        let mut handled = handled_exception(at);
        // SAFETY: attached; nulls go in.
        unsafe { ffi::PyErr_SetExcInfo(null_mut(), null_mut(), null_mut()) };
        let below = handled_exception(at);
        if below[VALUE] == handled[VALUE] {
            // It isn't the generator's own, nor does it get it.
            let_go(handled);
            handled = [null_mut(); 3];
        }
        let_go(below);
        let running = Running::put(at);
        // What asyncio refused is no error of the waiting job.
        crate::cpython::exception::clear(at);
        Aside { handled, running }
    }

    pub(super) fn restore(self, at: Attached<'_>) {
        if let Some(running) = &self.running {
            running.restore(at);
            crate::cpython::exception::clear(at);
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
fn let_go(handled: [*mut ffi::PyObject; 3]) {
    for object in handled {
        // SAFETY: attached, as its maker was, which has given this reference.
        unsafe { ffi::Py_XDECREF(object) };
    }
}

/// What asyncio is running in this thread. The modules' functions may be those in C or, where that
/// part is left out, those in Python.
struct Running {
    event_loop: Object,
    /// Up to CPython 3.13 each loop has a current task of its own and this is just that; from 3.14
    /// the thread has one, and while it has, no other loop can enter a task. Not there before 3.12.
    task: Option<Object>,
}

impl Running {
    fn put(at: Attached<'_>) -> Option<Self> {
        let event_loop = running_loop(at)?;
        let none = Object::none(at);
        // The task goes first and comes back last: it can be changed for the running loop only.
        let task = swap_current_task(at, &event_loop, &none);
        set_running_loop(at, &none);
        Some(Running { event_loop, task })
    }

    fn restore(&self, at: Attached<'_>) {
        set_running_loop(at, &self.event_loop);
        if let Some(task) = &self.task {
            swap_current_task(at, &self.event_loop, task);
        }
    }
}

/// Has asyncio run nothing in this thread, as it should once a job has ended and what waits below is put
/// away. An interrupt may have come as a run was about to end, and then no loop could be run here any more.
pub(super) fn forget_running(at: Attached<'_>) {
    if let Some(event_loop) = running_loop(at) {
        let none = Object::none(at);
        set_running_loop(at, &none);
        // By this a loop knows that it runs; others than asyncio's own may have none.
        // SAFETY: attached, and both are live.
        unsafe {
            ffi::PyObject_SetAttrString(event_loop.as_ptr(), c"_thread_id".as_ptr(), none.as_ptr())
        };
    }
    crate::cpython::exception::clear(at);
}

fn running_loop(at: Attached<'_>) -> Option<Object> {
    let get = function(at, "asyncio.events", c"_get_running_loop")?;
    // SAFETY: attached, and the function is live.
    let event_loop = unsafe { Object::from_owned(at, ffi::PyObject_CallNoArgs(get.as_ptr())) }?;
    (event_loop.as_ptr() != Object::none(at).as_ptr()).then_some(event_loop)
}

fn swap_current_task(at: Attached<'_>, event_loop: &Object, task: &Object) -> Option<Object> {
    let swap = function(at, "asyncio.tasks", c"_swap_current_task")?;
    let args = [event_loop.as_ptr(), task.as_ptr()];
    // SAFETY: attached; the function and both arguments are live, and there are two of them.
    unsafe {
        let result = ffi::PyObject_Vectorcall(swap.as_ptr(), args.as_ptr(), args.len(), null_mut());
        Object::from_owned(at, result)
    }
}

fn set_running_loop(at: Attached<'_>, event_loop: &Object) {
    if let Some(set) = function(at, "asyncio.events", c"_set_running_loop") {
        // SAFETY: attached, and both are live.
        let result = unsafe { ffi::PyObject_CallOneArg(set.as_ptr(), event_loop.as_ptr()) };
        // SAFETY: attached; the result is ours.
        drop(unsafe { Object::from_owned(at, result) });
    }
}

/// A function of a module, if anybody has imported that.
fn function(at: Attached<'_>, module: &'static str, name: &CStr) -> Option<Object> {
    let module = Object::interned(at, module)?;
    // SAFETY: attached; the name is a `str`.
    let module = unsafe { Object::from_owned(at, ffi::PyImport_GetModule(module.as_ptr())) }?;
    module.getattr_c(at, name)
}
