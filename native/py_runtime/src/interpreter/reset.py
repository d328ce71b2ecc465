# Runs in a namespace of its own in each interpreter that may be reused. The top level runs when the
# interpreter is new, and records its state; `reset` restores that.
import _codecs, _imp, _warnings, builtins, codecs, gc, os, posix, sys

# In the place of the built-ins, which may be what has to be restored.
globals().update({name: value for name, value in vars(builtins).items() if name[:2] != "__"})

# How often everything is put back before finalizers that change it each time count as endless.
MAX_ROUNDS = 10


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

# CPython has no list of these.
_register_codec = codecs.register
_codec_searches = []


def register(search_function, /):
    """Register a codec search function."""
    _register_codec(search_function)
    _codec_searches.append(search_function)


_codecs.register = codecs.register = register

_ERROR_HANDLERS = (
    "strict", "ignore", "replace", "xmlcharrefreplace", "backslashreplace", "namereplace",
    "surrogatepass", "surrogateescape",
)

# ---------------------------------------------------------------- noting

_module_type, _function_type = type(sys), type(addaudithook)
_HEAP, _IMMUTABLE = 1 << 9, 1 << 8  # Py_TPFLAGS_HEAPTYPE, Py_TPFLAGS_IMMUTABLETYPE
_class_dict = type.__dict__["__dict__"].__get__
_class_bases = type.__dict__["__bases__"].__get__
# Most of what modules have is of these, and nothing in it can be changed.
_PLAIN = {int, str, bytes, float, bool, tuple, frozenset, type(None), type(len), type(type.mro)}

_imported = sys.modules
_modules = dict(_imported)
# What is restored, each with a copy.
_dicts, _lists, _sets, _classes, _functions = [], [], [], [], []
# The ids of what has been recorded; the latter two are emptied.
_recorded = {id(_imported), id(sys.path_importer_cache)}


def _record(values):
    for value in values:
        kind = type(value)
        if kind in _PLAIN or id(value) in _recorded:
            continue
        _recorded.add(id(value))
        if kind is _function_type:
            _functions.append(value)
        elif kind is dict:
            _dicts.append((value, dict(value)))
        elif kind is list:
            _lists.append((value, list(value)))
        elif kind is set:
            _sets.append((value, set(value)))
        elif kind is staticmethod or kind is classmethod:
            _record([value.__func__])
        elif isinstance(value, type):
            if value.__flags__ & (_HEAP | _IMMUTABLE) == _HEAP:
                names = dict(_class_dict(value))
                _classes.append((value, names, _class_bases(value)))
                _record([value for value in names.values() if type(value) in _WITH_FUNCTION])
        elif kind is not _module_type:
            names = getattr(value, "__dict__", None)
            if type(names) is dict:
                _record([names])


_WITH_FUNCTION = {_function_type, staticmethod, classmethod}
_names = [m.__dict__ for m in _modules.values() if type(m) is _module_type]
_record([vars(builtins)])
_record(_names)
for _each in _names:
    _record(_each.values())
_codes = [function.__code__ for function in _functions]
_defaults = [function.__defaults__ for function in _functions]
_keyword_defaults = [function.__kwdefaults__ for function in _functions]

_error_handlers = [(name, codecs.lookup_error(name)) for name in _ERROR_HANDLERS]
_streams = [sys.__stdin__, sys.__stdout__, sys.__stderr__]
_closed = [getattr(stream, "closed", None) for stream in _streams]
_recursion_limit = sys.getrecursionlimit()
_switch_interval = sys.getswitchinterval()
_int_digits = sys.get_int_max_str_digits()
_dlopen_flags = sys.getdlopenflags()
_gc_threshold = gc.get_threshold()
_events = [event for event in vars(sys.monitoring.events).values() if event]
del _names, _recorded, _each

# ---------------------------------------------------------------- restoring


def _are_same(some, others):
    # Runs no code of theirs.
    return len(some) == len(others) and all([a is b for a, b in zip(some, others)])


def _restore_dict(names, before):
    if _are_same(names.values(), before.values()) and _are_same(names, before):
        return False
    # What finalizers see of it is what it was before.
    _held = dict(names)
    names.clear()
    names.update(before)
    return True


def _restore_list(value, before):
    if _are_same(value, before):
        return False
    _held = list(value)
    value[:] = before
    return True


def _restore_set(value, before):
    if len(value) == len(before) and {*map(id, value)} == {*map(id, before)}:
        return False
    _held = set(value)
    value.clear()
    value.update(before)
    return True


def _restore_class(value, before, bases):
    if _class_bases(value) is not bases:
        raise RuntimeError("a class has other bases")
    now = _class_dict(value)
    if _are_same(now.values(), before.values()) and _are_same(now, before):
        return False
    # Not by their order, which can't be put back.
    _held = dict(now)
    changed = False
    for name in _held:
        if name not in before:
            type.__delattr__(value, name)
            changed = True
    for name, attribute in before.items():
        if _held.get(name, before) is not attribute:
            type.__setattr__(value, name, attribute)
            changed = True
    return changed


def _restore_functions():
    codes = [function.__code__ for function in _functions]
    defaults = [function.__defaults__ for function in _functions]
    keyword_defaults = [function.__kwdefaults__ for function in _functions]
    if (
        _are_same(codes, _codes)
        and _are_same(defaults, _defaults)
        and _are_same(keyword_defaults, _keyword_defaults)
    ):
        return False
    recorded = zip(_functions, _codes, _defaults, _keyword_defaults)
    for function, code, default, keyword_default in recorded:
        function.__code__ = code
        function.__defaults__ = default
        function.__kwdefaults__ = keyword_default
    return True


def _restore_codecs():
    changed = bool(_codec_searches)
    while _codec_searches:
        codecs.unregister(_codec_searches.pop())
    for name, handler in _error_handlers:
        if codecs.lookup_error(name) is not handler:
            codecs.register_error(name, handler)
            changed = True
    return changed


def _restore_settings():
    sys.settrace(None)
    sys.setprofile(None)
    sys.setrecursionlimit(_recursion_limit)
    sys.setswitchinterval(_switch_interval)
    sys.set_int_max_str_digits(_int_digits)
    sys.setdlopenflags(_dlopen_flags)
    _imp._override_multi_interp_extensions_check(0)
    for tool in range(6):
        if sys.monitoring.get_tool(tool) is not None:
            sys.monitoring.set_events(tool, 0)
            for event in _events:
                sys.monitoring.register_callback(tool, event, None)
            sys.monitoring.free_tool_id(tool)
    gc.enable()
    gc.set_threshold(*_gc_threshold)
    gc.set_debug(0)
    gc.unfreeze()


def _is_native(module):
    spec = getattr(module, "__spec__", None)
    loader = getattr(spec, "loader", None)
    names = {getattr(loader, "__name__", None), type(loader).__name__}
    return not names.isdisjoint({"BuiltinImporter", "ExtensionFileLoader"})


# What C code refers to stays with it: the package that it is in, and what these import.
_KEPT_FOR = {"_decimal": {"numbers"}, "_zoneinfo": {"zoneinfo"}}


def _kept():
    native = {name for name, module in _imported.items() if _is_native(module)}
    # These keep classes and tables of modules that will be others when they are imported again.
    native -= {"_asyncio", "_pickle"}
    packages = {name.partition(".")[0] for name in native if "." in name}
    packages.update(*(_KEPT_FOR.get(name, ()) for name in native))
    kept = {
        name: module
        for name, module in _imported.items()
        if name in native or name.partition(".")[0] in packages
    }
    return kept | _modules


def _restore_all():
    changed = [_restore_dict(names, before) for names, before in _dicts]
    changed += [_restore_list(value, before) for value, before in _lists]
    changed += [_restore_set(value, before) for value, before in _sets]
    changed += [_restore_class(*recorded) for recorded in _classes]
    changed += [_restore_functions(), _restore_codecs()]
    _restore_settings()
    changed += [_restore_dict(_imported, _kept())]
    _warnings._filters_mutated()
    sys.path_importer_cache.clear()
    gc.garbage.clear()
    return any(changed)


def reset():
    if _is_audited:
        raise RuntimeError("it has an audit hook")
    _restore_dict(vars(builtins), _dicts[0][1])
    # Finalizers run as objects are dropped, and may change what was restored before.
    for _ in range(MAX_ROUNDS):
        atexit = _imported.get("atexit")
        if atexit is not None:
            atexit._run_exitfuncs()
        changed = _restore_all()
        if not gc.collect() and not changed:
            break
    else:
        raise RuntimeError("finalizers change it again and again")
    if [getattr(stream, "closed", None) for stream in _streams] != _closed:
        raise RuntimeError("a standard stream was closed")
