//! The audit hook that refuses what Python code may not do to the OS process, because it is the
//! VM's.
//!
//! A forked VM is a process with the VM's sockets and files but one of its threads, and a program
//! that replaces the VM ends it. CPython calls its audit hooks before either. Programs started by
//! `subprocess` or `os.posix_spawn` are allowed, unless Python code is to run in the child before
//! they do: that would be a forked VM.

use std::ffi::{CStr, c_char, c_int, c_void};

use pyo3_ffi as ffi;

const FORK: &CStr = c"os.fork would duplicate the Erlang VM that Python runs in: start programs \
    with subprocess, and worker processes with multiprocessing's start method 'spawn'";
const EXEC: &CStr = c"os.exec would put another program in the place of the Erlang VM that Python \
    runs in: start it with subprocess";
const PREEXEC: &CStr =
    c"preexec_fn would run Python code in a copy of the Erlang VM that Python runs \
    in: use what else subprocess has, such as start_new_session, process_group, user and umask";

type Hook = unsafe extern "C" fn(*const c_char, *mut ffi::PyObject, *mut c_void) -> c_int;

unsafe extern "C" {
    // Of the stable interface since 3.8; pyo3-ffi leaves it out.
    fn PySys_AddAuditHook(hook: Hook, data: *mut c_void) -> c_int;
}

/// Has every interpreter refuse, from now on. Before Python starts.
pub(crate) fn install() {
    // SAFETY: allowed before initialisation; the function is static and takes no data. Without
    // memory for it Python won't start either.
    unsafe { PySys_AddAuditHook(audit, std::ptr::null_mut()) };
}

/// Called before everything that CPython audits, also each import: must be quick.
unsafe extern "C" fn audit(event: *const c_char, _: *mut ffi::PyObject, _: *mut c_void) -> c_int {
    // SAFETY: CPython gives the event's name; this is called by an attached thread.
    unsafe {
        let event = CStr::from_ptr(event);
        let refusal = match event.to_bytes() {
            b"os.fork" | b"os.forkpty" => FORK,
            b"os.exec" => EXEC,
            b"subprocess.Popen" if has_preexec_fn() => PREEXEC,
            _ => return 0,
        };
        ffi::PyErr_SetString(ffi::PyExc_RuntimeError, refusal.as_ptr());
        -1
    }
}

/// Whether the Python code that is about to start a program has a `preexec_fn`, by its local
/// variable of that name: the event doesn't contain it.
///
/// # Safety
/// The thread is attached.
unsafe fn has_preexec_fn() -> bool {
    // SAFETY: as the caller vouches. The locals are borrowed, and null where no code runs; what is
    // no dictionary has no items.
    unsafe {
        let locals = ffi::PyEval_GetLocals();
        if locals.is_null() {
            ffi::PyErr_Clear();
            return false;
        }
        let function = ffi::PyDict_GetItemString(locals, c"preexec_fn".as_ptr());
        !function.is_null() && function != ffi::Py_None()
    }
}
