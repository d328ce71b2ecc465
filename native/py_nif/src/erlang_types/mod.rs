//! Python types for terms that Python has no type for: `erlang.Atom`, `Pid`, `Ref` and `Buffer`.
//!
//! Heap types, made for each interpreter by the module `erlang`, which keeps them. Uses
//! [`crate::term`]. It must never make an atom in Erlang.

pub(crate) mod atom;
pub(crate) mod buffer;
pub(crate) mod pid_ref;

use std::ffi::{CStr, c_int, c_uint, c_void};

use py_runtime::ffi;
use py_runtime::object::{Attached, Object};

/// The types of one interpreter.
pub(crate) struct Classes {
    pub(crate) atom: Object,
    pub(crate) pid: Object,
    pub(crate) reference: Object,
    pub(crate) buffer: Object,
}

fn slot(slot: c_int, pfunc: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot { slot, pfunc }
}

/// Makes an immutable type whose instances are laid out as `T`. Null: exception set.
///
/// Its instances are not tracked by the cyclic garbage collector: they refer to nothing that could
/// refer back to them, but their type, so they close no cycle that dropping the module's dictionary
/// doesn't open.
///
/// # Safety
/// Attached; `module` is live, `T` begins with a `PyObject`, and the slots are of the kinds that
/// they say and end in a zero one.
unsafe fn heap_type<T>(
    module: *mut ffi::PyObject,
    name: &'static CStr,
    flags: std::ffi::c_ulong,
    slots: &mut [ffi::PyType_Slot],
) -> *mut ffi::PyObject {
    let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_IMMUTABLETYPE | flags;
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size_of::<T>() as c_int,
        itemsize: 0,
        flags: flags as c_uint,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: as the caller vouches; only the name is kept, and it is static.
    unsafe { ffi::PyType_FromModuleAndSpec(module, &raw mut spec, std::ptr::null_mut()) }
}

/// A new instance of such a type, zeroed but for its head. `None`: exception set.
///
/// # Safety
/// `class` is a live type.
#[inline]
unsafe fn new_instance(py: Attached<'_>, class: *mut ffi::PyTypeObject) -> Option<Object> {
    // SAFETY: as the caller vouches; attached.
    unsafe { Object::from_owned(py, ffi::PyType_GenericAlloc(class, 0)) }
}

/// Frees an instance of such a type, which owns a reference to its type.
///
/// # Safety
/// Attached; called once, for an instance that nothing refers to any more.
unsafe fn free_instance(this: *mut ffi::PyObject) {
    // SAFETY: as the caller vouches.
    unsafe {
        let class = ffi::Py_TYPE(this);
        ffi::PyObject_Free(this.cast());
        ffi::Py_DECREF(class.cast());
    }
}

/// Whether two objects are of the same type.
///
/// # Safety
/// Both are live.
#[inline]
unsafe fn have_same_type(one: *mut ffi::PyObject, other: *mut ffi::PyObject) -> bool {
    // SAFETY: as the caller vouches.
    unsafe { ffi::Py_TYPE(one) == ffi::Py_TYPE(other) }
}

/// `NotImplemented`, for a comparison with an object of another type.
///
/// # Safety
/// Attached.
unsafe fn not_implemented() -> *mut ffi::PyObject {
    // SAFETY: the object is live in every interpreter.
    unsafe { ffi::Py_NewRef(ffi::Py_NotImplemented()) }
}
