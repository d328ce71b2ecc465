//! The built-in Python module `erlang`.
//!
//! Uses [`crate::thread`] and what is below it. Runs wherever Python imports it: as a rule once in
//! each interpreter. It is a multi-phase module whose types are made anew for each interpreter and
//! kept in the module's state. Nothing here may outlive an interpreter or be shared between two,
//! but for the static definitions, which CPython itself shares. Where Python code drops the module
//! and imports it again, the new one has what the first has.

mod blocking;
mod call;
pub(crate) mod current_job;
mod io;
mod job_namespace;
mod log;
mod method_def;
mod methods;
mod names;
mod pickle;
mod prelude;
mod send;
mod state;
mod values;

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::Ordering;

use py_runtime::exception::ErrorClass;
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};

use crate::erlang_types::{atom, buffer, pid_ref};
pub(crate) use call::answer_future;
pub(crate) use prelude::{install, sources};
use state::{ModuleState, state};
pub(crate) use state::{NAME, classes};

/// The module's initialiser, for `PyImport_AppendInittab`.
pub(crate) extern "C" fn init() -> *mut ffi::PyObject {
    // SAFETY: called by Python's import system, attached. A definition may be initialised any
    // number of times, from any interpreter: CPython does so for its own.
    unsafe {
        let definition = DEFINITION.0.get();
        state::DEFINITION.store(definition, Ordering::Release);
        ffi::PyModuleDef_Init(definition)
    }
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
    m_size: size_of::<ModuleState>() as ffi::Py_ssize_t,
    m_methods: methods::METHODS.0.get().cast(),
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

/// The key of the first module in an interpreter's dictionary.
const FIRST: &CStr = c"py_context_router.erlang";

unsafe extern "C" fn exec(module: *mut ffi::PyObject) -> c_int {
    // SAFETY: called by Python's import system, attached, with a new module whose state is zeroed.
    // What the state holds by the time of a failure is released with the module.
    unsafe {
        let py = Attached::assume();
        let dict = ffi::PyInterpreterState_GetDict(py.interpreter());
        let dict = Object::from_borrowed(py, dict);
        let done = match dict.as_ref().and_then(|dict| dict.get_item(py, FIRST)) {
            Some(first) => take_over(module, first.as_ptr()),
            None => begin(py, module).and_then(|()| match dict {
                // For as long as the interpreter lives.
                Some(dict) => dict.set_item(py, FIRST, Object::lent(py, &module)),
                None => Some(()),
            }),
        };
        if done.and_then(|()| publish(py, module)).is_some() { 0 } else { -1 }
    }
}

/// Fills the state of the interpreter's first module. `None`: exception set.
///
/// # Safety
/// Attached; `module` is live and new.
unsafe fn begin(py: Attached<'_>, module: *mut ffi::PyObject) -> Option<()> {
    // SAFETY: as the caller vouches.
    unsafe {
        let state = state(module)?;
        state.atom = atom::make_type(module, pickle::ATOM.0.get().cast());
        let make =
            |name, doc| pid_ref::make_type(py, module, name, doc, pickle::OPAQUE.0.get().cast());
        state.pid = make(c"erlang.Pid", c"The id of an Erlang process.");
        state.reference = make(c"erlang.Ref", c"An Erlang reference.");
        state.buffer = buffer::make_type(module, pickle::COPIED.0.get().cast());
        if [state.atom, state.pid, state.reference, state.buffer]
            .iter()
            .any(|class| class.is_null())
        {
            return None;
        }
        prelude::run(py, module, state, &methods::PRIVATE)
    }
}

/// Has `module` share the state of the first one: every context's values are of its types, and its
/// Python code is installed already.
///
/// # Safety
/// Attached; both are live and ours, and not the same.
unsafe fn take_over(module: *mut ffi::PyObject, first: *mut ffi::PyObject) -> Option<()> {
    // SAFETY: as the caller vouches; the new state was zeroed, and gets references of its own.
    unsafe {
        let (new, first) = (state(module)?, state(first)?);
        for (new, part) in new.parts().into_iter().zip(first.parts()) {
            ffi::Py_XINCREF(*part);
            *new = *part;
        }
    }
    Some(())
}

/// Gives the module its attributes. `None`: exception set.
///
/// # Safety
/// Attached; `module` is live and ours.
unsafe fn publish(py: Attached<'_>, module: *mut ffi::PyObject) -> Option<()> {
    // SAFETY: as the caller vouches; the prelude is a dictionary.
    unsafe {
        let state = state(module)?;
        if state.parts().iter().any(|part| part.is_null()) {
            // The interpreter is ending.
            ErrorClass::ImportError.raise(py, "the module erlang is gone");
            return None;
        }
        let prelude = Object::lent(py, &state.prelude);
        let (log, async_call) = (prelude.get_item(py, c"log"), prelude.get_item(py, c"async_call"));
        let attributes = [
            (c"Atom", state.atom),
            (c"Pid", state.pid),
            (c"Ref", state.reference),
            (c"Buffer", state.buffer),
            (c"Error", state.error),
            (c"ProcessError", state.process_error),
            (c"log", log.as_ref().map_or(null_mut(), Object::as_ptr)),
            (c"async_call", async_call.as_ref().map_or(null_mut(), Object::as_ptr)),
        ];
        attributes
            .into_iter()
            .all(|(name, value)| ffi::PyModule_AddObjectRef(module, name.as_ptr(), value) == 0)
            .then_some(())
    }
}

unsafe extern "C" fn traverse(
    module: *mut ffi::PyObject,
    visit: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: called by Python's garbage collector with a live module, whose state may be absent.
    unsafe {
        let Some(state) = state(module) else { return 0 };
        for part in state.parts() {
            if !part.is_null() {
                let stop = visit(*part, argument);
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
        if let Some(state) = state(module) {
            for part in state.parts() {
                ffi::Py_XDECREF(std::mem::replace(part, null_mut()));
            }
        }
        0
    }
}

unsafe extern "C" fn free(module: *mut c_void) {
    // SAFETY: as for `clear`, which may be called more than once.
    unsafe { clear(module.cast()) };
}
