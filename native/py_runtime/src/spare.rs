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
use crate::interpreter::{self, Vacant};
use crate::mode::Mode;
use crate::namespace::new_namespace;
use crate::object::{Attached, Object};

/// Runs in a namespace of its own in each interpreter: at the top level when the interpreter is
/// new, to note what it looks like; `reset` to make it look so again.
const RESET: &[u8] = br#"
import gc, sys, builtins, os, posix, _warnings

# What is registered for a fork stays for good, with the module that has registered it; and nothing
# forks here.
def register_at_fork(*, before=None, after_in_child=None, after_in_parent=None):
    pass

os.register_at_fork = posix.register_at_fork = register_at_fork

# A hook stays for good too: an interpreter that has one is not for others.
_add_audit_hook = sys.addaudithook
_is_audited = False

def addaudithook(hook):
    global _is_audited
    _add_audit_hook(hook)
    _is_audited = True

sys.addaudithook = addaudithook

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
_lists = [
    (value, list(value))
    for namespace, _ in _states
    for value in namespace.values()
    if type(value) is list
]
_recursion_limit = sys.getrecursionlimit()
_switch_interval = sys.getswitchinterval()
_int_digits = sys.get_int_max_str_digits()
_gc_threshold = gc.get_threshold()
_events = [event for event in vars(sys.monitoring.events).values() if event]

def _is_native(module):
    spec = getattr(module, "__spec__", None)
    loader = getattr(spec, "loader", None)
    names = {getattr(loader, "__name__", None), type(loader).__name__}
    return not names.isdisjoint({"BuiltinImporter", "ExtensionFileLoader"})

def _forget_monitoring():
    for tool in range(6):
        if sys.monitoring.get_tool(tool) is not None:
            sys.monitoring.set_events(tool, 0)
            for event in _events:
                sys.monitoring.register_callback(tool, event, None)
            sys.monitoring.free_tool_id(tool)

# What C code has hold of stays with it: the package that it is in, and what these import.
_KEPT_FOR = {"_decimal": {"numbers"}, "_zoneinfo": {"zoneinfo"}}

def _kept():
    native = {name for name, module in sys.modules.items() if _is_native(module)}
    # These keep classes and tables of modules that will be others when they are imported again.
    native -= {"_asyncio", "_pickle"}
    packages = {name.partition(".")[0] for name in native if "." in name}
    packages.update(*(_KEPT_FOR.get(name, ()) for name in native))
    return {
        name: module
        for name, module in sys.modules.items()
        if name in native or name.partition(".")[0] in packages
    }

def reset():
    if _is_audited:
        raise RuntimeError("it has an audit hook")
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
    _forget_monitoring()
    gc.enable()
    gc.set_threshold(*_gc_threshold)
    gc.set_debug(0)
    gc.unfreeze()
    gc.callbacks.clear()
    kept = _kept()
    for namespace, before in _states:
        _restore(namespace, before)
    for value, before in _lists:
        value[:] = before
    _warnings._filters_mutated()
    sys.modules.clear()
    sys.modules.update(kept)
    sys.modules.update(_modules)
    sys.path_importer_cache.clear()
    gc.garbage.clear()
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
    // What runs as the context ends still has its streams and modules, as at an interpreter's end. Called
    // from here, since Python code of ours would be in its tracebacks.
    interpreter::run_exit_functions(at);
    // SAFETY: attached. It does nothing while the collector is switched off.
    unsafe {
        ffi::PyGC_Enable();
        ffi::PyGC_Collect();
    }
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
