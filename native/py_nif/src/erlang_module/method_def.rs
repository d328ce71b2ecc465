//! How Rust functions become Python's.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use py_runtime::exception::ErrorClass;
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};

use super::values::{Raised, raise};

pub(super) type Argument = *mut ffi::PyObject;

pub(super) struct Methods<const N: usize>(pub(super) UnsafeCell<[ffi::PyMethodDef; N]>);

// SAFETY: nobody writes to it; the cell is there because C takes a pointer to mutable.
unsafe impl<const N: usize> Sync for Methods<N> {}

pub(super) const END: ffi::PyMethodDef = ffi::PyMethodDef::zeroed();

pub(super) const fn many(
    name: &'static CStr,
    function: ffi::PyCFunctionFast,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: function },
        ml_flags: ffi::METH_FASTCALL,
        ml_doc: doc.as_ptr(),
    }
}

/// As [`many`], for a function that raises an error of its own for keyword arguments.
pub(super) const fn keywords(
    name: &'static CStr,
    function: ffi::PyCFunctionFastWithKeywords,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    }
}

pub(super) const fn one(
    name: &'static CStr,
    function: ffi::PyCFunction,
    flags: c_int,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
        ml_flags: flags,
        ml_doc: doc.as_ptr(),
    }
}

/// The Python function of a method. `None`: exception set.
///
/// # Safety
/// `method` is one of a static array's; `this`, its first argument, is live.
pub(super) unsafe fn function(
    py: Attached<'_>,
    method: *mut ffi::PyMethodDef,
    this: Argument,
) -> Option<Object> {
    // SAFETY: as the caller vouches; the function takes a reference to `this`, and has no module.
    unsafe {
        let function = ffi::PyCFunction_NewEx(method, this, null_mut::<ffi::PyObject>());
        Object::from_owned(py, function)
    }
}

/// Runs a function's body. A panic must not cross CPython's frames.
pub(super) fn guarded(work: impl FnOnce(Attached<'_>) -> Result<Object, Raised>) -> Argument {
    // SAFETY: called by Python code, so the thread is attached.
    let py = unsafe { Attached::assume() };
    match catch_unwind(AssertUnwindSafe(|| work(py))) {
        Ok(Ok(value)) => value.into_ptr(),
        Ok(Err(Raised)) => null_mut(),
        Err(_) => {
            raise(py, ErrorClass::SystemError, "the native library hit a bug");
            null_mut()
        }
    }
}

/// The arguments of a call.
///
/// # Safety
/// As CPython gives them.
pub(super) unsafe fn arguments<'a>(
    args: *const Argument,
    count: ffi::Py_ssize_t,
) -> &'a [Argument] {
    match usize::try_from(count) {
        // SAFETY: so many live objects, as long as the call lasts.
        Ok(count) if count > 0 => unsafe { std::slice::from_raw_parts(args, count) },
        _ => &[],
    }
}

/// A borrowed argument, kept for the length of the call.
///
/// # Safety
/// `argument` is live.
pub(super) unsafe fn keep(py: Attached<'_>, argument: Argument) -> Result<Object, Raised> {
    // SAFETY: as the caller vouches.
    unsafe { Object::from_borrowed(py, argument) }.ok_or(Raised)
}
