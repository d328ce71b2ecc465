# What of module `erlang` is best said in Python. Runs once in each interpreter, in a namespace that
# has some functions of the native module: _write, _flush, _log, _log_level, _log_level_is_old,
# _namespace, _loop_slot.
import io
import sys


class Error(Exception):
    """An Erlang function that Python called has failed: class, reason, stacktrace."""

    def __init__(self, class_, reason=None, stacktrace=()):
        super().__init__(class_, reason, stacktrace)
        self.class_ = class_
        self.reason = reason
        self.stacktrace = stacktrace
        # The word can't be written after a dot, but getattr knows it.
        setattr(self, "class", class_)

    def __str__(self):
        text = f"{self.class_}: {self.reason}"
        # A reason may hold the text of another, and that of one more, each quoted again.
        return text if len(text) <= 500 else text[:500] + "…"


class ProcessError(Exception):
    """There is no such Erlang process (any more)."""


class Output(io.TextIOBase):
    """Text for the group leader of the Erlang process whose job is running."""

    mode = "w"
    encoding = "utf-8"
    errors = "backslashreplace"
    line_buffering = True

    def __init__(self, number, name):
        self._number = number
        self.name = name
        self.buffer = Bytes(number, name)

    def writable(self):
        return True

    def write(self, text):
        return _write(self._number, text)

    def flush(self):
        _flush(self._number)

    def close(self):
        # It is not one job's to close.
        self.flush()

    def reconfigure(self, **_):
        pass

    def __repr__(self):
        return f"<erlang output {self.name!r}>"


class Bytes(io.BufferedIOBase):
    """The same for bytes, which should be UTF-8."""

    mode = "wb"

    def __init__(self, number, name):
        self._number = number
        self.name = name

    def writable(self):
        return True

    def write(self, data):
        return _write(self._number, bytes(data))

    def flush(self):
        _flush(self._number)

    def close(self):
        self.flush()


class Input(io.TextIOBase):
    """There is none."""

    mode = "r"
    encoding = "utf-8"
    errors = "strict"
    name = "<stdin>"

    def readable(self):
        return True

    def _refuse(self, *_):
        raise OSError(
            "Python inside the Erlang VM has no standard input: pass what it needs as an argument,"
            " or ask an Erlang function with erlang.call"
        )

    read = readline = readlines = __next__ = _refuse

    def close(self):
        pass


def redirect():
    sys.stdout = sys.__stdout__ = Output(0, "<stdout>")
    sys.stderr = sys.__stderr__ = Output(1, "<stderr>")
    sys.stdin = sys.__stdin__ = Input()


# The severities of syslog, which are Erlang's levels.
LEVELS = {
    "emergency": 0,
    "alert": 1,
    "critical": 2,
    "error": 3,
    "warning": 4,
    "notice": 5,
    "info": 6,
    "debug": 7,
}


def _severity(number):
    for least, severity in ((50, 2), (40, 3), (30, 4), (25, 5), (20, 6)):
        if number >= least:
            return severity
    return 7


def log(level, msg, /, **meta):
    """Gives an event to Erlang's logger. `level` is one of its levels, or a number of Python's
    logging; `msg` text, or a dict as a report; `meta` is put into the event's metadata."""
    if isinstance(level, int):
        severity = _severity(level)
    else:
        severity = LEVELS.get(str(level))
        if severity is None:
            raise ValueError(f"no level is called {level!r}; there are: {', '.join(LEVELS)}")
    if _log_level_is_old():
        _log_level()
    caller = sys._getframe(1)
    meta.setdefault("file", caller.f_code.co_filename)
    meta.setdefault("line", caller.f_lineno)
    _log(severity, msg, meta)


def bridge(logging):
    """Has Python's root logger hand its events to Erlang's logger, and follow its level."""

    class ErlangHandler(logging.Handler):
        """Hands records to Erlang's logger."""

        def handle(self, record):
            # Without the handler's lock: whoever is so far ahead that it waits for Erlang's logger would
            # keep all others waiting, where no interrupt reaches them.
            kept = self.filter(record)
            if kept:
                self.emit(kept if isinstance(kept, logging.LogRecord) else record)
            return kept

        def emit(self, record):
            try:
                meta = {
                    "logger": record.name,
                    "file": record.pathname,
                    "line": record.lineno,
                    "function": record.funcName,
                    "thread": record.threadName,
                    "time": int(record.created * 1e6),
                }
                if record.exc_info and record.exc_info[0] is not None:
                    kind, error, _ = record.exc_info
                    trace = logging.Formatter().formatException(record.exc_info)
                    meta["exception"] = (kind.__name__, str(error), trace)
                _log(_severity(record.levelno), record.getMessage(), meta)
            except Exception:
                self.handleError(record)

    root = logging.getLogger()
    root.addHandler(ErlangHandler())
    is_enabled = logging.Logger.isEnabledFor
    followed = root.level

    def follow():
        nonlocal followed
        level = _log_level()
        # A level that Python code has set since is its own.
        if root.level == followed != level:
            root.setLevel(level)
            followed = level

    def isEnabledFor(self, level):
        if _log_level_is_old():
            follow()
        return is_enabled(self, level)

    logging.Logger.isEnabledFor = isEnabledFor
    follow()


# Entries for linecache by file name: the lines of the sources that contexts were given.
sources = {}


def follow_lines(linecache):
    """Gives linecache what came before it was imported. Later sources are put there at once."""
    linecache.cache.update(sources)


def follow_events(events):
    """Gives jobs event loops of their own, as the main thread of a script has one. From 3.14 on
    there is none unless it was set."""
    if sys.version_info >= (3, 14):
        return
    policy = events.BaseDefaultEventLoopPolicy
    get, put = policy.get_event_loop, policy.set_event_loop

    def get_event_loop(self):
        slot = _loop_slot()
        if slot is None:
            return get(self)
        if slot[0] is None or slot[0].is_closed():
            if slot[1] is None or slot[1].is_closed():
                slot[1] = self.new_event_loop()
            slot[0] = slot[1]
        return slot[0]

    def set_event_loop(self, loop):
        slot = _loop_slot()
        if slot is None:
            return put(self, loop)
        if loop is not None and not isinstance(loop, events.AbstractEventLoop):
            kind = type(loop).__name__
            raise TypeError(f"loop must be an instance of AbstractEventLoop or None, not '{kind}'")
        slot[0] = loop

    policy.get_event_loop, policy.set_event_loop = get_event_loop, set_event_loop


# What is done with modules when they have been imported.
FOLLOWED = {"logging": bridge, "linecache": follow_lines, "asyncio.events": follow_events}


class Loader:
    """Loads a module as it would be, and then follows it."""

    def __init__(self, loader, follow):
        self.loader = loader
        self.follow = follow

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        self.follow(module)


class Finder:
    """Waits for somebody to import what is followed."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        follow = FOLLOWED.get(name)
        if follow is None:
            return None
        for finder in sys.meta_path:
            if finder is not cls:
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    if hasattr(spec.loader, "exec_module"):
                        spec.loader = Loader(spec.loader, follow)
                    return spec
        return None


def follow_imports():
    for name, follow in FOLLOWED.items():
        if name in sys.modules:
            follow(sys.modules[name])
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)


Module = type(sys)
_own_dict = Module.__dict__["__dict__"].__get__


def running_names(main):
    """The globals of the code that runs: the running job's, or those of the nearest caller that is
    a user's code. In a thread in which there is neither, the module's own."""
    names = _namespace(False)
    frame = sys._getframe(1)
    while names is None and frame is not None:
        if frame.f_globals.get("__name__") == "__main__":
            return frame.f_globals
        frame = frame.f_back
    if names is None:
        names = _namespace(True)
    return _own_dict(main) if names is None else names


def annotations(names):
    """What a module that hasn't got `__annotations__` has under that name."""
    annotate = names.get("__annotate__")
    if annotate is None:
        return names.setdefault("__annotations__", {})
    # Their values, afresh: the next job may bring others.
    return annotate(1)


def take_main():
    """Has `__main__` be what runs. With a class of its own, which code may change."""

    class Main(Module):
        """The module `__main__`. Its attributes are the names of the code that runs."""

        def __getattribute__(self, name):
            names = running_names(self)
            if name == "__dict__":
                return names
            if name == "__class__":
                return Main
            if name in names:
                return names[name]
            if name == "__annotations__":
                return annotations(names)
            if any(name in vars(kind) for kind in Main.__mro__):
                return super().__getattribute__(name)
            if "__getattr__" in names:
                return names["__getattr__"](name)
            message = f"module '__main__' has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=self)

        def __setattr__(self, name, value):
            if name in ("__class__", "__dict__"):
                return super().__setattr__(name, value)
            running_names(self)[name] = value

        def __delattr__(self, name):
            names = running_names(self)
            if name not in names:
                raise AttributeError(f"module '__main__' has no attribute {name!r}")
            del names[name]

    main = sys.modules.get("__main__")
    if type(main) is Module:
        main.__class__ = Main


def checkpoint():
    """Nothing. To call it is to let CPython raise what another thread has asked for."""
