//! The coroutines of tasks, and where each step of one begins and ends.
//!
//! asyncio drives an object of this type in the place of the coroutine. It passes everything on,
//! and tells the thread which task's code runs: an interrupt must hit that task's code, and nothing
//! of the event loop between two steps.

use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use py_runtime::exception::{self, ErrorClass};
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};

/// The coroutine of a task.
#[repr(C)]
struct Step {
    base: ffi::PyObject,
    /// What is driven, ours. Null once cleared.
    coroutine: *mut ffi::PyObject,
    /// The number of the call whose task this is. None for a task that Python code has started.
    number: Option<u64>,
}

/// How a part of a coroutine has ended.
pub(crate) enum StepEnd {
    /// It waits for something.
    Waits,
    /// With the coroutine's result.
    Returned(Object),
    /// With an exception, which is set.
    Raised,
}

/// The thread, while it runs the event loop.
pub(crate) trait Steps {
    /// Runs a part of a coroutine. `number`: it is that of the call's own task, whose end ends the
    /// call. An exception that was set by `work` is set on return.
    fn step(&self, number: Option<u64>, work: &mut dyn FnMut() -> StepEnd);
}

thread_local! {
    static STEPS: Cell<Option<*const (dyn Steps + 'static)>> = const { Cell::new(None) };
}

/// Puts back what was there, also after a panic.
struct Restore(Option<*const (dyn Steps + 'static)>);

impl Drop for Restore {
    fn drop(&mut self) {
        STEPS.set(self.0);
    }
}

/// Notifies `steps` of each step that runs in `work`.
pub(crate) fn enter<T>(steps: &dyn Steps, work: impl FnOnce() -> T) -> T {
    let steps: *const (dyn Steps + '_) = steps;
    // SAFETY: only the lifetime changes; the pointer is gone when this returns.
    let steps: *const (dyn Steps + 'static) = unsafe { std::mem::transmute(steps) };
    let _restore = Restore(STEPS.replace(Some(steps)));
    work()
}

/// Makes the type. `None`: exception set.
pub(crate) fn make_type(py: Attached<'_>) -> Option<Object> {
    let slot = |slot: c_int, pfunc: *mut c_void| ffi::PyType_Slot { slot, pfunc };
    let mut slots = [
        slot(ffi::Py_tp_doc, c"Step(coroutine)\n--\n\nThe coroutine of a task.".as_ptr() as _),
        slot(ffi::Py_tp_new, step_new as *mut c_void),
        slot(ffi::Py_tp_dealloc, step_dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, step_traverse as *mut c_void),
        slot(ffi::Py_tp_clear, step_clear as *mut c_void),
        slot(ffi::Py_tp_getattro, step_getattro as *mut c_void),
        slot(ffi::Py_tp_repr, step_repr as *mut c_void),
        slot(ffi::Py_am_send, step_am_send as *mut c_void),
        slot(ffi::Py_am_await, step_await as *mut c_void),
        slot(ffi::Py_tp_methods, METHODS.0.get().cast()),
        ffi::PyType_Slot::default(),
    ];
    let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_IMMUTABLETYPE | ffi::Py_TPFLAGS_HAVE_GC;
    let mut spec = ffi::PyType_Spec {
        name: c"erlang.Step".as_ptr(),
        basicsize: size_of::<Step>() as c_int,
        itemsize: 0,
        flags: flags as c_uint,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: attached; the slots are of the kinds that they say and end in a zero one; only the
    // name and the methods are kept, which are static.
    unsafe { Object::from_owned(py, ffi::PyType_FromSpec(&raw mut spec)) }
}

/// A new one, for the call's own task if there is a number. `None`: exception set.
pub(crate) fn new(
    py: Attached<'_>,
    class: &Object,
    coroutine: &Object,
    number: Option<u64>,
) -> Option<Object> {
    // SAFETY: attached; the class is that of `make_type`, and a new instance is zeroed.
    unsafe {
        let step = Object::from_owned(py, ffi::PyType_GenericAlloc(class.as_ptr().cast(), 0))?;
        let fields = step.as_ptr().cast::<Step>();
        (&raw mut (*fields).number).write(number);
        (*fields).coroutine = ffi::Py_NewRef(coroutine.as_ptr());
        Some(step)
    }
}

struct Methods(std::cell::UnsafeCell<[ffi::PyMethodDef; 4]>);

// SAFETY: nobody writes to it; the cell is there because C takes a pointer to mutable.
unsafe impl Sync for Methods {}

static METHODS: Methods = Methods(std::cell::UnsafeCell::new([
    ffi::PyMethodDef {
        ml_name: c"send".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: step_send },
        ml_flags: ffi::METH_O,
        ml_doc: c"Run on to the next wait, with a value.".as_ptr(),
    },
    ffi::PyMethodDef {
        ml_name: c"throw".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: step_throw },
        ml_flags: ffi::METH_VARARGS,
        ml_doc: c"Run on to the next wait, with an exception.".as_ptr(),
    },
    ffi::PyMethodDef {
        ml_name: c"close".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: step_close },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: c"Close the coroutine.".as_ptr(),
    },
    ffi::PyMethodDef::zeroed(),
]));

/// Runs `work`, which drives the coroutine, as a step.
///
/// # Safety
/// Attached; `this` is a live instance.
unsafe fn run(
    py: Attached<'_>,
    this: *mut ffi::PyObject,
    mut work: impl FnMut(&Object) -> StepEnd,
) -> StepEnd {
    // SAFETY: as the caller vouches. The coroutine is kept, whatever it does to the task.
    let (coroutine, number) = unsafe {
        let fields = this.cast::<Step>();
        (Object::from_borrowed(py, (*fields).coroutine), (*fields).number)
    };
    let Some(coroutine) = coroutine else {
        ErrorClass::RuntimeError.raise(py, "the coroutine is gone");
        return StepEnd::Raised;
    };
    let Some(steps) = STEPS.get() else { return work(&coroutine) };
    let mut end = StepEnd::Raised;
    let stepped = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: further down this thread's stack, where it stays until `enter` returns.
        unsafe { &*steps }.step(number, &mut || {
            end = work(&coroutine);
            match &end {
                StepEnd::Waits => StepEnd::Waits,
                StepEnd::Returned(value) => StepEnd::Returned(value.clone_ref(py)),
                StepEnd::Raised => StepEnd::Raised,
            }
        });
    }));
    if stepped.is_err() {
        exception::clear(py);
        ErrorClass::SystemError.raise(py, "a bug of py_context_router: a step panicked");
        return StepEnd::Raised;
    }
    end
}

unsafe extern "C" fn step_am_send(
    this: *mut ffi::PyObject,
    argument: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: called by Python, attached, with live objects and a place for the result.
    unsafe {
        let py = Attached::assume();
        let mut yielded = None;
        let end = run(py, this, |coroutine| {
            let mut value = null_mut();
            let status = ffi::PyIter_Send(coroutine.as_ptr(), argument, &raw mut value);
            let value = Object::from_owned(py, value);
            match (status, value) {
                (ffi::PySendResult::PYGEN_NEXT, value) => {
                    yielded = value;
                    StepEnd::Waits
                }
                (ffi::PySendResult::PYGEN_RETURN, Some(value)) => StepEnd::Returned(value),
                _ => StepEnd::Raised,
            }
        });
        match (end, yielded) {
            (StepEnd::Waits, Some(value)) => {
                *result = value.into_ptr();
                ffi::PySendResult::PYGEN_NEXT
            }
            (StepEnd::Returned(value), _) => {
                *result = value.into_ptr();
                ffi::PySendResult::PYGEN_RETURN
            }
            _ => {
                *result = null_mut();
                ffi::PySendResult::PYGEN_ERROR
            }
        }
    }
}

unsafe extern "C" fn step_send(
    this: *mut ffi::PyObject,
    argument: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let mut value = null_mut();
    // SAFETY: called by Python, attached, with live objects.
    unsafe {
        let py = Attached::assume();
        match step_am_send(this, argument, &raw mut value) {
            ffi::PySendResult::PYGEN_NEXT => value,
            ffi::PySendResult::PYGEN_RETURN => {
                if let Some(value) = Object::from_owned(py, value) {
                    raise_stop(py, &value);
                }
                null_mut()
            }
            ffi::PySendResult::PYGEN_ERROR => null_mut(),
        }
    }
}

/// Raises `StopIteration(value)`.
fn raise_stop(py: Attached<'_>, value: &Object) {
    // SAFETY: attached; a live class, and an instance of it.
    unsafe {
        let class = ffi::PyExc_StopIteration;
        if let Some(stop) = Object::lent(py, &class).call1(py, value) {
            ffi::PyErr_SetObject(class, stop.as_ptr());
        }
    }
}

unsafe extern "C" fn step_throw(
    this: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, attached, with live objects.
    unsafe {
        let py = Attached::assume();
        let mut yielded = None;
        let end = run(py, this, |coroutine| {
            let throw = coroutine.getattr_c(py, c"throw");
            yielded = throw.and_then(|throw| {
                let value = ffi::PyObject_CallObject(throw.as_ptr(), arguments);
                Object::from_owned(py, value)
            });
            if yielded.is_some() {
                return StepEnd::Waits;
            }
            match exception::take_stop(py) {
                Some(value) => StepEnd::Returned(value),
                None => StepEnd::Raised,
            }
        });
        match (end, yielded) {
            (StepEnd::Waits, Some(value)) => value.into_ptr(),
            (StepEnd::Returned(value), _) => {
                raise_stop(py, &value);
                null_mut()
            }
            _ => null_mut(),
        }
    }
}

unsafe extern "C" fn step_close(
    this: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, attached, with a live instance.
    unsafe { forward(this, c"close") }
}

unsafe extern "C" fn step_await(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by Python, attached, with a live instance.
    unsafe { forward(this, c"__await__") }
}

/// Calls a method of the coroutine.
///
/// # Safety
/// Attached; `this` is a live instance.
unsafe fn forward(this: *mut ffi::PyObject, method: &'static std::ffi::CStr) -> *mut ffi::PyObject {
    // SAFETY: as the caller vouches.
    unsafe {
        let py = Attached::assume();
        let coroutine = Object::from_borrowed(py, (*this.cast::<Step>()).coroutine);
        let value = match coroutine {
            Some(coroutine) => coroutine.call_method0(py, method),
            None => Some(Object::none(py)),
        };
        value.map_or(null_mut(), Object::into_ptr)
    }
}

unsafe extern "C" fn step_getattro(
    this: *mut ffi::PyObject,
    name: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, attached, with live objects. The coroutine has the rest: its name,
    // its frame, what it waits for.
    unsafe {
        let py = Attached::assume();
        let own = ffi::PyObject_GenericGetAttr(this, name);
        let coroutine = (*this.cast::<Step>()).coroutine;
        if own.is_null()
            && !coroutine.is_null()
            && ffi::PyErr_ExceptionMatches(ffi::PyExc_AttributeError) != 0
        {
            exception::clear(py);
            return ffi::PyObject_GetAttr(coroutine, name);
        }
        own
    }
}

unsafe extern "C" fn step_repr(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by Python, attached, with a live instance; `%R` takes an object or null.
    unsafe { ffi::PyObject_Repr((*this.cast::<Step>()).coroutine) }
}

unsafe extern "C" fn step_new(
    class: *mut ffi::PyTypeObject,
    arguments: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, attached, with a live class and a tuple.
    unsafe {
        let py = Attached::assume();
        let Some(coroutine) = Object::lent(py, &arguments).tuple_item(py, 0) else {
            return null_mut();
        };
        let class = class.cast();
        let step = new(py, Object::lent(py, &class), &coroutine, None);
        step.map_or(null_mut(), Object::into_ptr)
    }
}

unsafe extern "C" fn step_traverse(
    this: *mut ffi::PyObject,
    visit: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: called by Python's garbage collector with a live instance.
    unsafe {
        for object in [ffi::Py_TYPE(this).cast(), (*this.cast::<Step>()).coroutine] {
            if !object.is_null() {
                let stop = visit(object, argument);
                if stop != 0 {
                    return stop;
                }
            }
        }
        0
    }
}

unsafe extern "C" fn step_clear(this: *mut ffi::PyObject) -> c_int {
    // SAFETY: called by Python, attached, with a live instance. The field forgets the reference
    // before it is released.
    unsafe {
        let coroutine = &raw mut (*this.cast::<Step>()).coroutine;
        ffi::Py_XDECREF(coroutine.replace(null_mut()));
    }
    0
}

unsafe extern "C" fn step_dealloc(this: *mut ffi::PyObject) {
    // SAFETY: called by Python once, for an instance that nothing refers to any more, and which
    // owns a reference to its type.
    unsafe {
        let class = ffi::Py_TYPE(this);
        ffi::PyObject_GC_UnTrack(this.cast());
        step_clear(this);
        ffi::PyObject_GC_Del(this.cast());
        ffi::Py_DECREF(class.cast());
    }
}
