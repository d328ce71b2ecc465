//! The exception that is set on a thread: taking it, forgetting it, putting it back.

use pyo3_ffi as ffi;

use crate::cpython::object::{Attached, Object};

/// Takes the raised exception object from the thread state.
pub(super) fn take_raised(py: Attached<'_>) -> Option<Object> {
    #[cfg(Py_3_12)]
    // SAFETY: attached; the call returns an owned reference.
    unsafe {
        Object::from_owned(py, ffi::PyErr_GetRaisedException())
    }
    #[cfg(not(Py_3_12))]
    // SAFETY: attached; `PyErr_Fetch` returns three owned references (or nulls), which
    // `PyErr_NormalizeException` replaces by owned ones, and each is taken exactly once.
    unsafe {
        let (mut class, mut value, mut trace) =
            (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
        ffi::PyErr_Fetch(&raw mut class, &raw mut value, &raw mut trace);
        ffi::PyErr_NormalizeException(&raw mut class, &raw mut value, &raw mut trace);
        if !value.is_null() && !trace.is_null() {
            ffi::PyException_SetTraceback(value, trace);
        }
        drop(Object::from_owned(py, class));
        drop(Object::from_owned(py, trace));
        Object::from_owned(py, value)
    }
}

/// Takes the exception object that is set on this thread.
pub fn take_object(py: Attached<'_>) -> Option<Object> {
    take_raised(py)
}

/// Forgets whatever exception is set.
pub fn clear(_: Attached<'_>) {
    // SAFETY: attached.
    unsafe { ffi::PyErr_Clear() };
}

/// Whether an exception is set.
#[must_use]
pub fn is_set(_: Attached<'_>) -> bool {
    // SAFETY: attached; the result is borrowed, and only compared.
    !unsafe { ffi::PyErr_Occurred() }.is_null()
}

/// Sets `MemoryError`.
#[cold]
pub fn set_no_memory(_: Attached<'_>) {
    // SAFETY: attached.
    unsafe { ffi::PyErr_NoMemory() };
}

/// Runs `f`, which may raise, while an exception is set, and sets that again.
pub fn preserving_exception(py: Attached<'_>, f: impl FnOnce()) {
    let raised = take_raised(py);
    f();
    clear(py);
    if let Some(raised) = raised {
        restore(raised);
    }
}

/// The value of the `StopIteration` that is set, which is cleared. `None`: no such is set.
pub fn take_stop(py: Attached<'_>) -> Option<Object> {
    // SAFETY: attached; a live class.
    let is_stop =
        is_set(py) && unsafe { ffi::PyErr_ExceptionMatches(ffi::PyExc_StopIteration) } != 0;
    if !is_stop {
        return None;
    }
    let raised = take_raised(py)?;
    raised.getattr_c(py, c"value")
}

pub(super) fn restore(raised: Object) {
    #[cfg(Py_3_12)]
    // SAFETY: attached, as every owner of an `Object` is; the call takes the reference over.
    unsafe {
        ffi::PyErr_SetRaisedException(raised.into_ptr());
    }
    #[cfg(not(Py_3_12))]
    // SAFETY: as above; it takes over all three references, and finds the traceback in the
    // exception.
    unsafe {
        let class = ffi::Py_TYPE(raised.as_ptr()).cast::<ffi::PyObject>();
        ffi::Py_INCREF(class);
        let trace = ffi::PyException_GetTraceback(raised.as_ptr());
        ffi::PyErr_Restore(class, raised.into_ptr(), trace);
    }
}
