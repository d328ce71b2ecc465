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
import gc, sys, builtins

def _restore(namespace, before):
    # Without built-ins: those may be what has to be restored.
    for name in [*namespace]:
        if name not in before:
            del namespace[name]
    namespace.update(before)

_names = vars(builtins)
_builtins = dict(_names)
_modules = dict(sys.modules)
_states = [(m.__dict__, dict(m.__dict__)) for m in _modules.values() if type(m) is type(sys)]
_lists = [(value, list(value)) for value in vars(sys).values() if type(value) is list]
_recursion_limit = sys.getrecursionlimit()
_switch_interval = sys.getswitchinterval()
_int_digits = sys.get_int_max_str_digits()
_gc_threshold = gc.get_threshold()

def _is_native(module):
    spec = getattr(module, "__spec__", None)
    loader = getattr(spec, "loader", None)
    names = {getattr(loader, "__name__", None), type(loader).__name__}
    return not names.isdisjoint({"BuiltinImporter", "ExtensionFileLoader"})

def reset():
    _restore(_names, _builtins)
    atexit = sys.modules.get("atexit")
    if atexit is not None:
        atexit._run_exitfuncs()
    # What these left is undone too.
    _restore(_names, _builtins)
    sys.settrace(None)
    sys.setprofile(None)
    sys.setrecursionlimit(_recursion_limit)
    sys.setswitchinterval(_switch_interval)
    sys.set_int_max_str_digits(_int_digits)
    gc.enable()
    gc.set_threshold(*_gc_threshold)
    gc.callbacks.clear()
    native = {name: m for name, m in sys.modules.items() if _is_native(m)}
    # It keeps asyncio's exceptions, which will be other classes when asyncio is imported again.
    native.pop("_asyncio", None)
    for namespace, before in _states:
        _restore(namespace, before)
    for value, before in _lists:
        value[:] = before
    sys.modules.clear()
    sys.modules.update(native)
    sys.modules.update(_modules)
    sys.path_importer_cache.clear()
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
