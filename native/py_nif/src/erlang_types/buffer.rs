//! The type `erlang.Buffer`: the bytes of an Erlang binary, not copied.
//!
//! The object holds the binary in an environment of its own and offers its bytes through the buffer
//! protocol, read-only.

use std::ffi::{c_int, c_void};

use py_runtime::ffi;
use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifTerm, enif_alloc_env, enif_free_env, enif_make_copy};

use super::{free_instance, heap_type, new_instance, slot};
use crate::term::inspect;

/// The layout of an `erlang.Buffer`.
#[repr(C)]
struct Buffer {
    base: ffi::PyObject,
    /// Owns `term`.
    env: *mut ErlNifEnv,
    term: ErlNifTerm,
    start: *const u8,
    length: ffi::Py_ssize_t,
}

/// The object for a binary. `None`: exception set.
///
/// # Safety
/// `class` is this interpreter's `erlang.Buffer`; `term` is a live binary.
pub(crate) unsafe fn new(py: Attached<'_>, class: &Object, term: ErlNifTerm) -> Option<Object> {
    // SAFETY: the type has the layout `Buffer`, and a new instance is zeroed and not known to
    // anyone yet. The copy is a reference to the same bytes; small ones lie in the new environment,
    // which nobody writes to again.
    unsafe {
        let object = new_instance(py, class.as_ptr().cast())?;
        let buffer = object.as_ptr().cast::<Buffer>();
        (*buffer).env = enif_alloc_env();
        (*buffer).term = enif_make_copy((*buffer).env, term);
        let bytes = inspect((*buffer).env, (*buffer).term).unwrap_or_default();
        (*buffer).start = bytes.as_ptr();
        (*buffer).length = bytes.len() as ffi::Py_ssize_t;
        Some(object)
    }
}

/// The binary that the object holds, in `env`.
///
/// # Safety
/// `value` is a live instance of this interpreter's `erlang.Buffer`; `env` may be written to.
pub(crate) unsafe fn to_term(env: *mut ErlNifEnv, value: *mut ffi::PyObject) -> ErlNifTerm {
    // SAFETY: the type says the layout, and the term is there from the start to the end.
    unsafe { enif_make_copy(env, (*value.cast::<Buffer>()).term) }
}

/// Makes the type for `module`. Null: exception set.
///
/// # Safety
/// `module` is a live module and the thread is attached; `methods` are static and end in a zero
/// one.
pub(crate) unsafe fn make_type(
    module: *mut ffi::PyObject,
    methods: *mut ffi::PyMethodDef,
) -> *mut ffi::PyObject {
    let doc = c"The bytes of an Erlang binary, not copied: give it to memoryview() or bytes().";
    let mut slots = [
        slot(ffi::Py_tp_doc, doc.as_ptr().cast_mut().cast()),
        slot(ffi::Py_tp_methods, methods.cast()),
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_sq_length, length as *mut c_void),
        slot(ffi::Py_bf_getbuffer, get_buffer as *mut c_void),
        ffi::PyType_Slot::default(),
    ];
    // SAFETY: passed on to the caller; the slots are of the kinds that they say and end in a zero
    // one.
    unsafe {
        heap_type::<Buffer>(
            module,
            c"erlang.Buffer",
            ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION,
            &mut slots,
        )
    }
}

unsafe extern "C" fn dealloc(this: *mut ffi::PyObject) {
    // SAFETY: called by Python once, for an instance that nothing refers to any more, so that no
    // view of it is left.
    unsafe {
        let env = (*this.cast::<Buffer>()).env;
        if !env.is_null() {
            enif_free_env(env);
        }
        free_instance(this);
    }
}

unsafe extern "C" fn repr(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by Python with a live instance; `%zd` takes a size.
    unsafe {
        ffi::PyUnicode_FromFormat(
            c"<erlang.Buffer of %zd bytes>".as_ptr(),
            (*this.cast::<Buffer>()).length,
        )
    }
}

unsafe extern "C" fn length(this: *mut ffi::PyObject) -> ffi::Py_ssize_t {
    // SAFETY: called by Python with a live instance.
    unsafe { (*this.cast::<Buffer>()).length }
}

unsafe extern "C" fn get_buffer(
    this: *mut ffi::PyObject,
    view: *mut ffi::Py_buffer,
    flags: c_int,
) -> c_int {
    // SAFETY: called by Python with a live instance, which the view keeps alive, and which keeps
    // its bytes; a request for a writable view is refused by the call.
    unsafe {
        let buffer = this.cast::<Buffer>();
        let start = (*buffer).start.cast_mut().cast();
        ffi::PyBuffer_FillInfo(view, this, start, (*buffer).length, 1, flags)
    }
}
