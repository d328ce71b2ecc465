//! Interpreters that are kept for the next context instead of being ended.
//!
//! CPython 3.12 and 3.13 lose memory for every interpreter that is ended (about 0.3 MB, with a GIL
//! of its own over 2 MB); other versions don't. So there an interpreter whose context is gone is
//! reset and set aside, which costs no more memory than ending it would. What a reset
//! undoes is in [`RESET`]; what it can't undo is the state of extension modules, which stay loaded.
//! An interpreter that can't be reset (threads still run in it, or the reset raised) is ended.

use parking_lot::Mutex;
use pyo3_ffi as ffi;

use crate::code;
use crate::interpreter::Vacant;
use crate::mode::Mode;
use crate::namespace::new_namespace;
use crate::object::{Attached, Object};

/// Runs in a namespace of its own in each interpreter: at the top level when the interpreter is
/// new, to note what it looks like; `reset` to make it look so again.
const RESET: &[u8] = br#"
import sys, builtins

_lists = ("path", "meta_path", "path_hooks", "argv", "warnoptions", "orig_argv")
_hooks = ("stdin", "stdout", "stderr", "excepthook", "displayhook", "unraisablehook")
_modules = dict(sys.modules)
_names = vars(builtins)
_builtins = dict(_names)
_sys_lists = {name: list(getattr(sys, name)) for name in _lists}
_sys_hooks = {name: getattr(sys, name) for name in _hooks}
_recursion_limit = sys.getrecursionlimit()

def _is_native(module):
    spec = getattr(module, "__spec__", None)
    loader = getattr(spec, "loader", None)
    names = {getattr(loader, "__name__", None), type(loader).__name__}
    return not names.isdisjoint({"BuiltinImporter", "ExtensionFileLoader"})

def reset():
    _names.update(_builtins)
    for name in _names.keys() - _builtins.keys():
        del _names[name]
    atexit = sys.modules.get("atexit")
    if atexit is not None:
        atexit._run_exitfuncs()
    sys.settrace(None)
    sys.setprofile(None)
    sys.setrecursionlimit(_recursion_limit)
    for name, value in _sys_lists.items():
        getattr(sys, name)[:] = value
    for name, value in _sys_hooks.items():
        setattr(sys, name, value)
    native = {name: m for name, m in sys.modules.items() if _is_native(m)}
    sys.modules.clear()
    sys.modules.update(native)
    sys.modules.update(_modules)
    sys.path_importer_cache.clear()
    import gc
    gc.collect()
"#;

static SPARES: Mutex<Vec<Vacant>> = Mutex::new(Vec::new());

/// Whether interpreters are kept on the linked Python.
pub(crate) const KEPT: bool = cfg!(all(Py_3_12, not(Py_3_14)));

/// Notes what a new interpreter looks like. `None`: it won't be kept.
pub(crate) fn note(at: Attached<'_>) -> Option<Object> {
    let namespace = new_namespace(at).ok()?;
    code::exec(at, RESET, "<reset>", &namespace).ok()?;
    // SAFETY: attached; the namespace is a dictionary, and the value gets a reference.
    unsafe {
        let reset = ffi::PyDict_GetItemString(namespace.as_ptr(), c"reset".as_ptr());
        Object::from_borrowed(at, reset)
    }
}

/// Makes the interpreter look as it was noted to. `false`: it can't be kept.
pub(crate) fn reset(at: Attached<'_>, reset: &Object) -> bool {
    // SAFETY: attached, to the interpreter that the function belongs to.
    let done = unsafe { Object::from_owned(at, ffi::PyObject_CallNoArgs(reset.as_ptr())) };
    if done.is_none() {
        crate::exception::clear(at);
    }
    done.is_some()
}

/// Sets a reset interpreter aside.
pub(crate) fn put(vacant: Vacant) {
    SPARES.lock().push(vacant);
}

/// Takes one of a mode that was set aside.
pub(crate) fn take(mode: Mode) -> Option<Vacant> {
    let mut spares = SPARES.lock();
    let place = spares.iter().rposition(|spare| spare.mode() == mode)?;
    Some(spares.swap_remove(place))
}
