# The part of module `erlang` that is written in Python. Runs once in each interpreter, in a
# namespace that has the types Atom, Pid and Ref, and functions that only the native module has:
# _call, _async_call, _runs_job, _write, _flush, _log, _log_level, _log_level_is_old, _log_levels,
# _environ, _namespace, _loop_slot. The other files of this folder are appended to it.
import _thread
import atexit
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


def extra_key():
    """The key of a record's own attributes in its metadata. Made each time: an atom in this
    namespace would keep the module, and all of a sub-interpreter, from being collected."""
    return Atom("extra")


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
    elif not isinstance(level, (str, Atom)):
        kind = type(level).__name__
        raise TypeError(f"a level must be a str, an erlang.Atom or an int, not {kind}")
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


def async_call(name, /, *args):
    """Calls the Erlang function registered as `name`. To be awaited: for its result."""
    future = _async_call(name, *args)
    return _call_elsewhere(name, args) if future is None else future


async def _call_elsewhere(name, args):
    """On another loop than that of a context's tasks. A job's own loop waits meanwhile, so that
    the function can call Python in the same context."""
    if _runs_job():
        return _call(name, *args)
    import asyncio

    return await asyncio.get_running_loop().run_in_executor(None, _call, name, *args)


def checkpoint():
    """Does nothing. A call lets CPython raise an exception that another thread has requested."""


