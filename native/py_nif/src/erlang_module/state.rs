//! The state of each interpreter's module `erlang`, and how it is found.

use std::ffi::CStr;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use py_runtime::exception::Exception;
use py_runtime::ffi;
use py_runtime::object::{Attached, Object};

use crate::erlang_types::Classes;

/// The module's name, for `PyImport_AppendInittab`.
pub(crate) const NAME: &CStr = c"erlang";

/// The module's definition, by which it is known. Null until Python imports it first.
pub(super) static DEFINITION: AtomicPtr<ffi::PyModuleDef> = AtomicPtr::new(null_mut());

/// Imports the module and takes the types from its state, so that it doesn't matter whether
/// Python code has replaced the attributes.
pub(crate) fn classes(py: Attached<'_>) -> Result<Classes, Exception> {
    let module = import(py)?;
    // SAFETY: attached; the module is ours and in our hands, so its state and the types are live.
    unsafe {
        let state = state(module.as_ptr()).ok_or_else(not_ours)?;
        let class = |class| Object::from_borrowed(py, class).ok_or_else(not_ours);
        Ok(Classes {
            atom: class(state.atom)?,
            pid: class(state.pid)?,
            reference: class(state.reference)?,
            buffer: class(state.buffer)?,
        })
    }
}

/// The module. An error if Python code has put another one in its place.
pub(super) fn import(py: Attached<'_>) -> Result<Object, Exception> {
    let module = Object::import(py, NAME).ok_or_else(|| Exception::take(py))?;
    let definition = DEFINITION.load(Ordering::Acquire);
    // A module that is written in Python has no definition, nor have we before the first import.
    // SAFETY: attached; a definition is asked for only if the object is a module.
    let is_ours = unsafe {
        !definition.is_null()
            && ffi::PyModule_Check(module.as_ptr()) != 0
            && ffi::PyModule_GetDef(module.as_ptr()) == definition
    };
    py_runtime::exception::clear(py);
    if is_ours { Ok(module) } else { Err(not_ours()) }
}

/// A module's state. `None`: it has none yet.
///
/// # Safety
/// `module` is live and of our definition.
pub(super) unsafe fn state<'a>(module: *mut ffi::PyObject) -> Option<&'a mut ModuleState> {
    // SAFETY: the state is ours because the definition is; one thread at a time is attached.
    unsafe { ffi::PyModule_GetState(module).cast::<ModuleState>().as_mut() }
}

pub(super) fn not_ours() -> Exception {
    Exception::new(
        "ImportError",
        "another module has taken the place of the built-in module erlang",
    )
}

/// Each interpreter's own: a reference to each object, or null before it is made.
#[repr(C)]
pub(super) struct ModuleState {
    pub(super) atom: *mut ffi::PyObject,
    pub(super) pid: *mut ffi::PyObject,
    pub(super) reference: *mut ffi::PyObject,
    pub(super) buffer: *mut ffi::PyObject,
    /// `erlang.Error` and `erlang.ProcessError`.
    pub(super) error: *mut ffi::PyObject,
    pub(super) process_error: *mut ffi::PyObject,
    /// The namespace of `prelude.py`.
    pub(super) prelude: *mut ffi::PyObject,
}

impl ModuleState {
    pub(super) fn parts(&mut self) -> [&mut *mut ffi::PyObject; 7] {
        [
            &mut self.atom,
            &mut self.pid,
            &mut self.reference,
            &mut self.buffer,
            &mut self.error,
            &mut self.process_error,
            &mut self.prelude,
        ]
    }
}
