//! Pids and references as Python objects: the types `erlang.Pid` and `erlang.Ref`.
//!
//! Runs on a context thread, attached; the garbage collector of that interpreter frees them. An
//! object holds its term in an environment of its own, so that a reference or a remote pid stays
//! what it is for as long as Python keeps it. They are immutable and can't be made in Python,
//! except from a pickle: an identity must not be forged.

use std::ffi::{CStr, c_int, c_void};

use py_runtime::ffi;
use py_runtime::object::{Attached, Object};
use rustler::sys::{
    ErlNifEnv, ErlNifHash, ErlNifTerm, enif_alloc_env, enif_compare, enif_free_env, enif_hash,
    enif_make_copy,
};

use super::{free_instance, have_same_type, heap_type, new_instance, not_implemented, slot};
use crate::term::{local_pid, print};

/// The layout of both types' instances.
#[repr(C)]
struct Opaque {
    base: ffi::PyObject,
    /// Owns `term`. Null for a local pid, which needs no environment.
    env: *mut ErlNifEnv,
    term: ErlNifTerm,
}

/// The object for a pid or a reference. `class` is the type to make it of. `None`: exception set.
///
/// # Safety
/// `term` is a pid or a reference of `env`, and `class` the type for it.
pub(crate) unsafe fn new(
    py: Attached<'_>,
    class: &Object,
    env: *mut ErlNifEnv,
    term: ErlNifTerm,
) -> Option<Object> {
    // SAFETY: the types of module `erlang` have the layout `Opaque`, and a new instance is zeroed
    // and not known to anyone yet; `term` belongs to `env`.
    unsafe {
        let object = new_instance(py, class.as_ptr().cast())?;
        let opaque = object.as_ptr().cast::<Opaque>();
        if local_pid(env, term).is_some() {
            (*opaque).term = term;
        } else {
            (*opaque).env = enif_alloc_env();
            (*opaque).term = enif_make_copy((*opaque).env, term);
        }
        Some(object)
    }
}

/// The term that the object holds, copied into `env`.
///
/// # Safety
/// `value` is a live instance of this interpreter's `erlang.Pid` or `erlang.Ref`, and `env` may be
/// written to.
pub(crate) unsafe fn to_term(env: *mut ErlNifEnv, value: *mut ffi::PyObject) -> ErlNifTerm {
    // SAFETY: the type says the layout, and the term is there from the start to the end.
    unsafe {
        let opaque = value.cast::<Opaque>();
        if (*opaque).env.is_null() { (*opaque).term } else { enif_make_copy(env, (*opaque).term) }
    }
}

/// Makes the type `name` (`erlang.Pid`) for `module`. Null: exception set.
///
/// # Safety
/// `module` is a live module and the thread is attached; `methods` are static and end in a zero
/// one.
pub(crate) unsafe fn make_type(
    _: Attached<'_>,
    module: *mut ffi::PyObject,
    name: &'static CStr,
    doc: &'static CStr,
    methods: *mut ffi::PyMethodDef,
) -> *mut ffi::PyObject {
    let mut slots = [
        slot(ffi::Py_tp_doc, doc.as_ptr().cast_mut().cast()),
        slot(ffi::Py_tp_methods, methods.cast()),
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_tp_str, text as *mut c_void),
        slot(ffi::Py_tp_hash, hash as *mut c_void),
        slot(ffi::Py_tp_richcompare, compare as *mut c_void),
        ffi::PyType_Slot::default(),
    ];
    // SAFETY: passed on to the caller; the slots are of the kinds that they say and end in a zero
    // one.
    unsafe { heap_type::<Opaque>(module, name, ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION, &mut slots) }
}

unsafe extern "C" fn dealloc(this: *mut ffi::PyObject) {
    // SAFETY: called by Python once, for an instance that nothing refers to any more.
    unsafe {
        let env = (*this.cast::<Opaque>()).env;
        if !env.is_null() {
            enif_free_env(env);
        }
        free_instance(this);
    }
}

unsafe extern "C" fn repr(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by Python, attached, with a live instance.
    let (name, term) = unsafe {
        let name = Object::lent(Attached::assume(), &this).class_name(Attached::assume());
        (name, print((*this.cast::<Opaque>()).term))
    };
    new_text(&format!("<{name} {term}>"))
}

unsafe extern "C" fn text(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by Python with a live instance.
    new_text(&unsafe { print((*this.cast::<Opaque>()).term) })
}

fn new_text(text: &str) -> *mut ffi::PyObject {
    // SAFETY: slots are only called by attached threads.
    let py = unsafe { Attached::assume() };
    Object::text(py, text).map_or(std::ptr::null_mut(), Object::into_ptr)
}

unsafe extern "C" fn hash(this: *mut ffi::PyObject) -> ffi::Py_hash_t {
    // SAFETY: called by Python with a live instance. The portable hash is equal for equal terms in
    // whatever environment.
    let hash = unsafe { enif_hash(ErlNifHash::ERL_NIF_PHASH2, (*this.cast::<Opaque>()).term, 0) };
    // Never -1, which would mean an exception: the portable hash has 27 bits.
    (hash & 0x7fff_ffff) as ffi::Py_hash_t
}

unsafe extern "C" fn compare(
    this: *mut ffi::PyObject,
    other: *mut ffi::PyObject,
    operation: c_int,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python with two live objects, the first an instance; the second is looked
    // into only when it is of the same type.
    unsafe {
        if !have_same_type(this, other) {
            return not_implemented();
        }
        let order = enif_compare((*this.cast::<Opaque>()).term, (*other.cast::<Opaque>()).term);
        let holds = match operation {
            ffi::Py_LT => order < 0,
            ffi::Py_LE => order <= 0,
            ffi::Py_EQ => order == 0,
            ffi::Py_NE => order != 0,
            ffi::Py_GT => order > 0,
            _ => order >= 0,
        };
        ffi::PyBool_FromLong(holds.into())
    }
}
