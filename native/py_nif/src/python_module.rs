//! The built-in Python module `erlang`, and its type `erlang.Atom`.
//!
//! Runs wherever Python imports it: once in each interpreter. It is a multi-phase module whose
//! types are made anew for each interpreter and kept in the module's state; nothing here outlives
//! or is shared between interpreters but the static definition, which CPython itself shares.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int, c_uint, c_void};
use std::ptr::null_mut;

use py_runtime::exception::Exception;
use py_runtime::object::{Attached, Object};
use pyo3_ffi as ffi;

use crate::convert::{buffer, opaque};

/// The module's name, for `PyImport_AppendInittab`.
pub const NAME: &CStr = c"erlang";

/// The types of one interpreter's module.
pub(crate) struct Classes {
    pub(crate) atom: Object,
    pub(crate) pid: Object,
    pub(crate) reference: Object,
    pub(crate) buffer: Object,
}

/// Imports the module and takes the types from its state, so that it makes no difference what
/// Python code has put in place of the attributes.
pub(crate) fn classes(at: Attached<'_>) -> Result<Classes, Exception> {
    // SAFETY: attached; the state is ours once the definition is. The module is in `sys.modules`
    // and in our hands, so the types are live.
    unsafe {
        let module = Object::from_owned(at, ffi::PyImport_ImportModule(NAME.as_ptr()))
            .ok_or_else(|| Exception::take(at))?;
        let ours = ffi::PyModule_Check(module.as_ptr()) != 0
            && ffi::PyModule_GetDef(module.as_ptr()) == DEFINITION.0.get();
        let state = ffi::PyModule_GetState(module.as_ptr()).cast::<State>();
        py_runtime::exception::clear(at);
        if !ours || state.is_null() {
            return Err(not_ours());
        }
        let class = |class| Object::from_borrowed(at, class).ok_or_else(not_ours);
        Ok(Classes {
            atom: class((*state).atom)?,
            pid: class((*state).pid)?,
            reference: class((*state).reference)?,
            buffer: class((*state).buffer)?,
        })
    }
}

fn not_ours() -> Exception {
    Exception::new(
        "ImportError",
        "another module has taken the place of the built-in module erlang",
    )
}

/// The module's initialiser, for `PyImport_AppendInittab`.
pub extern "C" fn init() -> *mut ffi::PyObject {
    // SAFETY: called by Python's import system, attached. A definition may be initialised any
    // number of times, from any interpreter: CPython does so for its own.
    unsafe { ffi::PyModuleDef_Init(DEFINITION.0.get()) }
}

/// Each interpreter's own: a reference to each type, or null before it is made.
#[repr(C)]
struct State {
    atom: *mut ffi::PyObject,
    pid: *mut ffi::PyObject,
    reference: *mut ffi::PyObject,
    buffer: *mut ffi::PyObject,
}

struct Definition(UnsafeCell<ffi::PyModuleDef>);

// SAFETY: only CPython writes to it, and does what it does for every extension module's.
unsafe impl Sync for Definition {}

struct Slots<const N: usize>(UnsafeCell<[ffi::PyModuleDef_Slot; N]>);

// SAFETY: nobody writes to it; the cell is there because C takes a pointer to mutable.
unsafe impl<const N: usize> Sync for Slots<N> {}

static DEFINITION: Definition = Definition(UnsafeCell::new(ffi::PyModuleDef {
    m_base: ffi::PyModuleDef_HEAD_INIT,
    m_name: NAME.as_ptr(),
    m_doc: c"The Erlang VM that this Python runs in.".as_ptr(),
    m_size: size_of::<State>() as ffi::Py_ssize_t,
    m_methods: null_mut(),
    m_slots: SLOTS.0.get().cast(),
    m_traverse: Some(traverse),
    m_clear: Some(clear),
    m_free: Some(free),
}));

static SLOTS: Slots<4> = Slots(UnsafeCell::new([
    ffi::PyModuleDef_Slot { slot: ffi::Py_mod_exec, value: exec as *mut c_void },
    #[cfg(Py_3_12)]
    ffi::PyModuleDef_Slot {
        slot: ffi::Py_mod_multiple_interpreters,
        value: ffi::Py_MOD_PER_INTERPRETER_GIL_SUPPORTED,
    },
    #[cfg(Py_3_13)]
    ffi::PyModuleDef_Slot { slot: ffi::Py_mod_gil, value: ffi::Py_MOD_GIL_NOT_USED },
    END,
    #[cfg(not(Py_3_12))]
    END,
    #[cfg(not(Py_3_13))]
    END,
]));

const END: ffi::PyModuleDef_Slot = ffi::PyModuleDef_Slot { slot: 0, value: null_mut() };

unsafe extern "C" fn exec(module: *mut ffi::PyObject) -> c_int {
    // SAFETY: called by Python's import system, attached, with a new module whose state is zeroed.
    // What the state holds by the time of a failure is released with the module.
    unsafe {
        let at = Attached::assume();
        let state = ffi::PyModule_GetState(module).cast::<State>();
        (*state).atom = make_atom_type(module);
        if ffi::PyModule_AddObjectRef(module, c"Atom".as_ptr(), (*state).atom) < 0 {
            return -1;
        }
        (*state).pid =
            opaque::make_type(at, module, c"erlang.Pid", c"The id of an Erlang process.");
        if ffi::PyModule_AddObjectRef(module, c"Pid".as_ptr(), (*state).pid) < 0 {
            return -1;
        }
        (*state).reference = opaque::make_type(at, module, c"erlang.Ref", c"An Erlang reference.");
        if ffi::PyModule_AddObjectRef(module, c"Ref".as_ptr(), (*state).reference) < 0 {
            return -1;
        }
        (*state).buffer = buffer::make_type(module);
        ffi::PyModule_AddObjectRef(module, c"Buffer".as_ptr(), (*state).buffer)
    }
}

unsafe extern "C" fn traverse(
    module: *mut ffi::PyObject,
    visit: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: called by Python's garbage collector with a live module, whose state may be absent.
    unsafe {
        let state = ffi::PyModule_GetState(module).cast::<State>();
        if state.is_null() {
            return 0;
        }
        for class in [(*state).atom, (*state).pid, (*state).reference, (*state).buffer] {
            if !class.is_null() {
                let stop = visit(class, argument);
                if stop != 0 {
                    return stop;
                }
            }
        }
        0
    }
}

unsafe extern "C" fn clear(module: *mut ffi::PyObject) -> c_int {
    // SAFETY: called by Python, attached, with a module that is on its way out. The state forgets
    // a reference before it is released.
    unsafe {
        let state = ffi::PyModule_GetState(module).cast::<State>();
        if !state.is_null() {
            for class in [
                &raw mut (*state).atom,
                &raw mut (*state).pid,
                &raw mut (*state).reference,
                &raw mut (*state).buffer,
            ] {
                ffi::Py_XDECREF(class.replace(null_mut()));
            }
        }
        0
    }
}

unsafe extern "C" fn free(module: *mut c_void) {
    // SAFETY: as for `clear`, which may be called more than once.
    unsafe { clear(module.cast()) };
}

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
pub(crate) unsafe fn atom_name(atom: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the type says the layout.
    unsafe { (*atom.cast::<Atom>()).name }
}

/// # Safety
/// `module` is a live module and the thread is attached.
unsafe fn make_atom_type(module: *mut ffi::PyObject) -> *mut ffi::PyObject {
    let slot = |slot, pfunc| ffi::PyType_Slot { slot, pfunc };
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
        slot(ffi::Py_tp_doc, doc.as_ptr().cast_mut().cast::<c_void>()),
        slot(ffi::Py_tp_members, members.as_mut_ptr().cast()),
        slot(ffi::Py_tp_new, atom_new as *mut c_void),
        slot(ffi::Py_tp_dealloc, atom_dealloc as *mut c_void),
        slot(ffi::Py_tp_repr, atom_repr as *mut c_void),
        slot(ffi::Py_tp_str, atom_str as *mut c_void),
        slot(ffi::Py_tp_hash, atom_hash as *mut c_void),
        slot(ffi::Py_tp_richcompare, atom_compare as *mut c_void),
        ffi::PyType_Slot::default(),
    ];
    let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_IMMUTABLETYPE;
    let mut spec = ffi::PyType_Spec {
        name: c"erlang.Atom".as_ptr(),
        basicsize: size_of::<Atom>() as c_int,
        itemsize: 0,
        flags: flags as c_uint,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the slots are of the kinds that they say and end in a zero one; only the name is
    // kept, and it is static.
    unsafe { ffi::PyType_FromModuleAndSpec(module, &raw mut spec, null_mut()) }
}

unsafe extern "C" fn atom_new(
    class: *mut ffi::PyTypeObject,
    args: *mut ffi::PyObject,
    kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, attached, with a tuple and a dict or null. A new instance is zeroed,
    // and gets its name before anyone sees it.
    unsafe {
        let named = !kwargs.is_null() && ffi::PyDict_Size(kwargs) > 0;
        if named || ffi::PyTuple_Size(args) != 1 {
            return raise(ffi::PyExc_TypeError, c"erlang.Atom() takes one argument: a str");
        }
        let given = ffi::PyTuple_GetItem(args, 0);
        if ffi::PyUnicode_Check(given) == 0 {
            return raise(ffi::PyExc_TypeError, c"erlang.Atom() takes one argument: a str");
        }
        if ffi::PyUnicode_GetLength(given) > 255 {
            return raise(ffi::PyExc_ValueError, c"an atom has at most 255 characters");
        }
        // A subclass's instance could change its mind about what it is: take a plain copy.
        let name = ffi::PyUnicode_FromObject(given);
        if name.is_null() {
            return null_mut();
        }
        let atom = ffi::PyType_GenericAlloc(class, 0);
        if atom.is_null() {
            ffi::Py_DECREF(name);
            return null_mut();
        }
        (*atom.cast::<Atom>()).name = name;
        atom
    }
}

/// # Safety
/// `class` is an exception class and the thread is attached.
unsafe fn raise(class: *mut ffi::PyObject, message: &CStr) -> *mut ffi::PyObject {
    // SAFETY: as the caller vouches; the message ends in NUL.
    unsafe { ffi::PyErr_SetString(class, message.as_ptr()) };
    null_mut()
}

unsafe extern "C" fn atom_dealloc(this: *mut ffi::PyObject) {
    // SAFETY: called by Python once, for an instance that nothing refers to any more. A heap type's
    // instance owns a reference to its type.
    unsafe {
        let class = ffi::Py_TYPE(this);
        ffi::Py_XDECREF(atom_name(this));
        ffi::PyObject_Free(this.cast());
        ffi::Py_DECREF(class.cast());
    }
}

unsafe extern "C" fn atom_repr(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by Python with a live instance; `%R` takes an object.
    unsafe { ffi::PyUnicode_FromFormat(c"erlang.Atom(%R)".as_ptr(), atom_name(this)) }
}

unsafe extern "C" fn atom_str(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by Python with a live instance.
    unsafe {
        let name = atom_name(this);
        ffi::Py_INCREF(name);
        name
    }
}

unsafe extern "C" fn atom_hash(this: *mut ffi::PyObject) -> ffi::Py_hash_t {
    // SAFETY: called by Python with a live instance.
    let hash = unsafe { ffi::PyObject_Hash(atom_name(this)) };
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
        if ffi::Py_TYPE(this) == ffi::Py_TYPE(other) {
            return ffi::PyObject_RichCompare(atom_name(this), atom_name(other), operation);
        }
        let answer = ffi::Py_NotImplemented();
        ffi::Py_INCREF(answer);
        answer
    }
}
