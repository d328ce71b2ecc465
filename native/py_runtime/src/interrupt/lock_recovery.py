# Releases the locks that this thread still owns after an interrupt: the import lock, those of
# modules, and those of `logging`. And forgets what an interrupted import has left.
#
# Of the locks of modules, only those that exist are visited. From 3.12 on a lock counts in a list
# and can't be released once that is empty, and it has a lock of its own, which from 3.14 on can
# stay taken too. Those of `logging` may have been replaced by anything.
import _imp, _thread, sys
from importlib import _bootstrap, _bootstrap_external

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

# A package whose import was interrupted is not listed any more, but what it had imported of its own
# still is. The next import of the package would not bind that in it again, so that its `__init__`
# would not find it. Extension modules stay, because many can't be loaded twice.
for _name in list(sys.modules):
    _parent = _name.rpartition(".")[0]
    if _parent and _parent not in sys.modules:
        _spec = getattr(sys.modules.get(_name), "__spec__", None)
        if isinstance(getattr(_spec, "loader", None), _bootstrap_external.SourceFileLoader):
            sys.modules.pop(_name, None)
