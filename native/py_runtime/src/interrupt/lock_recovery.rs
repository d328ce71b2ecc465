//! Python's import locks, and jobs that are interrupted.
//!
//! An interrupt may come between two bytecodes of Python's own `importlib`: after it has taken a lock
//! and before the block begins that would give it back, or, in a thread that was just woken as the next
//! one to have the lock, before that has woken the one after it. Then whoever imports the same (before
//! 3.12: anything in any interpreter) waits for ever. So nobody is struck who is in there, which is
//! looked at from outside; and what a struck job has kept all the same (Python itself raises
//! exceptions in there too, when memory or the stack runs out) is given back after it, once none
//! waits below it on the thread.
//!
//! So are the locks of `logging`, which before CPython 3.13 it may be struck with just as it has taken
//! them: nobody else could log any more who shares the interpreter.

use std::ptr::null_mut;

use pyo3_ffi as ffi;

use crate::cpython::code;
use crate::cpython::exception::{clear, lossy_text};
use crate::cpython::namespace::library_namespace;
use crate::cpython::object::{Attached, Object};

/// The name of its source file, which has no other part in it: a file that is searched for, read or
/// run is in other code, and may take its time.
const BOOTSTRAP: &str = "<frozen importlib._bootstrap>";

/// Of the locks of modules, only those that exist are looked at. From 3.12 on a lock counts in a list
/// and can't be given back once that is empty, and it has a lock of its own, which from 3.14 on can
/// stay taken too. Those of `logging` may have been replaced by anything.
const GIVE_BACK: &[u8] = br#"
import _imp, _thread, sys
from importlib import _bootstrap

try:
    while True:
        _imp.release_lock()
except RuntimeError:
    pass

_me = _thread.get_ident()
for _reference in list(getattr(_bootstrap, "_module_locks", {}).values()):
    _lock = _reference()
    try:
        if getattr(_lock, "owner", None) == _me and _lock.count == []:
            _lock.count.append(True)
        while getattr(_lock, "owner", None) == _me:
            _lock.release()
        _own = getattr(_lock, "lock", None)
        while hasattr(_own, "_is_owned") and _own._is_owned():
            _own.release()
    except (RuntimeError, AssertionError, AttributeError):
        pass

_logging = sys.modules.get("logging")
_handlers = [_reference() for _reference in list(getattr(_logging, "_handlerList", ()))]
for _place, _name in [(_logging, "_lock"), *((_handler, "lock") for _handler in _handlers)]:
    _lock = getattr(_place, _name, None)
    while isinstance(_lock, _thread.RLock) and _lock._is_owned():
        _lock.release()
"#;

/// Gives back all import locks of this thread, which isn't importing anything, and those of `logging`.
pub(crate) fn give_back(at: Attached<'_>) {
    // What fails here has no caller to be told; the worst is that nothing is given back.
    if let Ok(namespace) = library_namespace(at, "py_context_router.import_locks") {
        let _ = code::exec(at, GIVE_BACK, "<import locks>", &namespace);
    }
    clear(at);
}

/// Whether another thread is in the part of `importlib` that deals with locks. It stays where it is
/// until the GIL is let go of. Without a GIL nothing holds it, and nothing is said.
///
/// # Safety
/// Attached to the interpreter of the state, which is alive and not this thread's.
pub(crate) unsafe fn is_among_them(at: Attached<'_>, state: *mut ffi::PyThreadState) -> bool {
    if cfg!(Py_GIL_DISABLED) {
        return false;
    }
    // SAFETY: as the caller says. Up to 3.11 making the frame's object may collect garbage, whose
    // finalizers would let the thread go on.
    let (frame, code) = unsafe {
        let collects = ffi::PyGC_Disable();
        let frame = ffi::PyThreadState_GetFrame(state);
        let code = if frame.is_null() { null_mut() } else { ffi::PyFrame_GetCode(frame) };
        if collects != 0 {
            ffi::PyGC_Enable();
        }
        (Object::from_owned(at, frame.cast()), Object::from_owned(at, code.cast()))
    };
    // Reading its name runs no Python code.
    let name = code.and_then(|code| code.getattr_c(at, c"co_filename"));
    let among = name.and_then(|name| lossy_text(at, &name)).as_deref() == Some(BOOTSTRAP);
    drop(frame);
    clear(at);
    among
}
