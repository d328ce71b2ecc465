//! Python types for terms that Python has no type for: `erlang.Atom`, `Pid`, `Ref` and `Buffer`.
//!
//! Heap types, made for each interpreter by the module `erlang`, which keeps them. Uses
//! [`crate::term`]. It must never make an atom in Erlang.

pub(crate) mod atom;
pub(crate) mod buffer;
pub(crate) mod pid_ref;

use std::ffi::{CStr, c_int, c_uint, c_void};

use py_runtime::ffi;
use py_runtime::object::Object;

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

/// `NotImplemented`, for a comparison with an object of another type.
///
/// # Safety
/// Attached.
unsafe fn not_implemented() -> *mut ffi::PyObject {
    // SAFETY: the object is live in every interpreter.
    unsafe { ffi::Py_NewRef(ffi::Py_NotImplemented()) }
}
