//! The type `erlang.Atom`: the name of an Erlang atom, which is not text.
//!
//! Runs on whatever thread Python code runs on, attached. It makes no atom in Erlang.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use py_runtime::exception::ErrorClass;
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};

use super::{free_instance, have_same_type, heap_type, new_instance, not_implemented, slot};

/// The layout of an `erlang.Atom`. Like the other types' instances it is not tracked by the cyclic
/// garbage collector, because a `str` closes no cycle.
#[repr(C)]
struct Atom {
    base: ffi::PyObject,
    /// An exact `str`, ours. Set for good when the object is made.
    name: *mut ffi::PyObject,
}

/// The name, borrowed from the object.
///
/// # Safety
/// `atom` is a live instance of its interpreter's `erlang.Atom`.
pub(crate) unsafe fn name(atom: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the type says the layout.
    unsafe { (*atom.cast::<Atom>()).name }
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
    let doc = c"Atom(name)\n--\n\nAn Erlang atom. It must exist by the time it is sent to Erlang.";
    // Python copies these into the type.
    let mut members = [
        ffi::PyMemberDef {
            name: c"name".as_ptr(),
            type_code: ffi::Py_T_OBJECT_EX,
            offset: std::mem::offset_of!(Atom, name) as ffi::Py_ssize_t,
            flags: ffi::Py_READONLY,
            doc: c"The atom's name.".as_ptr(),
        },
        ffi::PyMemberDef::default(),
    ];
    let mut slots = [
        slot(ffi::Py_tp_doc, doc.as_ptr().cast_mut().cast()),
        slot(ffi::Py_tp_members, members.as_mut_ptr().cast()),
        slot(ffi::Py_tp_methods, methods.cast()),
        slot(ffi::Py_tp_new, atom_new as *mut c_void),
        slot(ffi::Py_tp_dealloc, atom_dealloc as *mut c_void),
        slot(ffi::Py_tp_repr, atom_repr as *mut c_void),
        slot(ffi::Py_tp_str, atom_str as *mut c_void),
        slot(ffi::Py_tp_hash, atom_hash as *mut c_void),
        slot(ffi::Py_tp_richcompare, atom_compare as *mut c_void),
        ffi::PyType_Slot::default(),
    ];
    // SAFETY: passed on to the caller; the slots are of the kinds that they say and end in a zero
    // one.
    unsafe { heap_type::<Atom>(module, c"erlang.Atom", 0, &mut slots) }
}

unsafe extern "C" fn atom_new(
    class: *mut ffi::PyTypeObject,
    args: *mut ffi::PyObject,
    kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, attached, with a tuple and a dict or null. A new instance is
    // zeroed, and gets its name before anyone sees it.
    unsafe {
        let py = Attached::assume();
        let is_named = !kwargs.is_null() && ffi::PyDict_Size(kwargs) > 0;
        let Some(name) = checked_name(py, Object::lent(py, &args), is_named) else {
            return null_mut();
        };
        let Some(atom) = new_instance(py, class) else { return null_mut() };
        (*atom.as_ptr().cast::<Atom>()).name = name.into_ptr();
        atom.into_ptr()
    }
}

/// The name that `erlang.Atom` was called with, as a plain `str`. `None`: exception set.
fn checked_name(py: Attached<'_>, args: &Object, is_named: bool) -> Option<Object> {
    let is_one = !is_named && args.tuple_size() == Some(1);
    let given = if is_one { args.tuple_item(py, 0) } else { None };
    let Some(given) = given.filter(Object::is_text) else {
        ErrorClass::TypeError.raise(py, "erlang.Atom() takes one argument: a str");
        return None;
    };
    // SAFETY: attached; a live `str`.
    unsafe {
        if ffi::PyUnicode_GetLength(given.as_ptr()) > 255 {
            ErrorClass::ValueError.raise(py, "an atom has at most 255 characters");
            return None;
        }
        // An instance of a subclass could change: take a plain copy.
        Object::from_owned(py, ffi::PyUnicode_FromObject(given.as_ptr()))
    }
}

unsafe extern "C" fn atom_dealloc(this: *mut ffi::PyObject) {
    // SAFETY: called by Python once, for an instance that nothing refers to any more.
    unsafe {
        ffi::Py_XDECREF(name(this));
        free_instance(this);
    }
}

unsafe extern "C" fn atom_repr(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by Python with a live instance; `%R` takes an object.
    unsafe { ffi::PyUnicode_FromFormat(c"erlang.Atom(%R)".as_ptr(), name(this)) }
}

unsafe extern "C" fn atom_str(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by Python with a live instance.
    unsafe { ffi::Py_NewRef(name(this)) }
}

unsafe extern "C" fn atom_hash(this: *mut ffi::PyObject) -> ffi::Py_hash_t {
    // SAFETY: called by Python with a live instance.
    let hash = unsafe { ffi::PyObject_Hash(name(this)) };
    // Apart from the `str` of the same name, and never -1, which would mean an exception.
    match hash ^ 0x4154_4f4d {
        -1 => -2,
        hash => hash,
    }
}

unsafe extern "C" fn atom_compare(
    this: *mut ffi::PyObject,
    other: *mut ffi::PyObject,
    operation: c_int,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python with two live objects, the first an instance; the second is looked
    // into only when it is of the same type.
    unsafe {
        if have_same_type(this, other) {
            return ffi::PyObject_RichCompare(name(this), name(other), operation);
        }
        not_implemented()
    }
}
