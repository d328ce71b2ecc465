"""Threads that Python code starts in the main interpreter, which worker contexts share.

Runs once, at boot. A context's thread is to them what the main thread of a program is: threads that
it starts aren't daemons unless they are made so, and it waits for them at its end.
"""
import _thread
import functools
import gc
import os
import sys
import threading
import time

# The time after which a thread that waits for another checks for an interrupt, in seconds.
POLL = 0.05


class Context:
    """A context whose thread runs."""

    has_threads = False


# How long to wait for a process that is to end, in seconds.
MAX_PROCESS_WAIT = 1

# Modules with a process that removes what others leave behind: semaphores, shared memory, folders.
TRACKERS = ("multiprocessing.resource_tracker", "joblib.externals.loky.backend.resource_tracker")

# By the idents of their threads.
contexts = {}
# Of stops of the application that still wait for threads.
closings = []


def enter():
    """A context's thread begins. Reopens what a stop may have closed that still waits."""
    for closing in list(closings):
        closing.reopen()
    contexts[_thread.get_ident()] = Context()


def _initialised(initialise):
    @functools.wraps(initialise)
    def __init__(self, *args, **kwargs):
        initialise(self, *args, **kwargs)
        context = contexts.get(_thread.get_ident())
        if context is not None:
            self._erlang_context = context
            # Threads inherit this from the one that makes them.
            self._daemonic = False

    return __init__


def _started(start):
    @functools.wraps(start)
    def wrapper(self):
        context = getattr(threading.current_thread(), "_erlang_context", None)
        if context is not None:
            context.has_threads = True
            self._erlang_context = context
        return start(self)

    return wrapper


threading._DummyThread.__init__ = _initialised(threading._DummyThread.__init__)
threading.Thread.start = _started(threading.Thread.start)


def leave():
    """A context's thread ends: waits for the threads that it has started, and those have."""
    ident = _thread.get_ident()
    context = contexts.pop(ident, None)
    with threading._active_limbo_lock:
        if isinstance(threading._active.get(ident), threading._DummyThread):
            del threading._active[ident]
    if context is not None and context.has_threads:
        # An executor that only the context had is gone then, and its idle threads end.
        gc.collect()
        _join(lambda thread: getattr(thread, "_erlang_context", None) is context)


def _join(is_meant):
    """Waits until such threads have ended, or are those of an executor that has nothing to do:
    these end with it or with the application."""
    idle_before = set()
    while True:
        threads = [thread for thread in threading.enumerate() if _is_python(thread)]
        left = {thread for thread in threads if is_meant(thread)}
        idle = {thread for thread in left if _is_idle(thread)}
        # One that has just got its work seems idle for a moment.
        if left == idle & idle_before:
            return
        idle_before = idle
        for thread in left - idle or left:
            try:
                thread.join(POLL)
            except RuntimeError:
                # It is just being started, and can't be joined yet.
                time.sleep(POLL / 50)
            break


def _is_python(thread):
    """Whether Python started it, and not as a daemon."""
    ours = isinstance(thread, threading._DummyThread) or thread is threading.main_thread()
    return not ours and not thread.daemon


def _is_idle(thread):
    """Whether it serves an executor that has no work."""
    if hasattr(thread, "pending_work_items"):
        return not thread.pending_work_items
    module = sys.modules.get("concurrent.futures.thread")
    queue = getattr(module, "_threads_queues", {}).get(thread)
    if queue is None or not queue.empty():
        return False
    frame = sys._current_frames().get(thread.ident)
    return frame is not None and frame.f_globals is vars(module)


def end():
    """The application stops: as `threading._shutdown`, but Python goes on and may be used again."""
    callbacks = list(threading._threading_atexits)
    stopped = [Closing(callback) for callback in reversed(callbacks)]
    closings.extend(stopped)
    for closing in stopped:
        closing.run()
    _join(lambda thread: True)
    for closing in stopped:
        closing.reopen()
        closings.remove(closing)
    # Callbacks of modules that stay are called again at the next stop; all others once.
    known = {id(closing.callback) for closing in stopped if closing.has_closed}
    threading._threading_atexits[:] = [
        callback
        for callback in threading._threading_atexits
        if id(callback) in known or callback not in callbacks
    ]


def _registered(callback):
    """The function that was passed to `threading._register_atexit`, which keeps a partial, or from
    3.13 a lambda."""
    names = getattr(getattr(callback, "__code__", None), "co_freevars", ())
    cells = dict(zip(names, getattr(callback, "__closure__", None) or ()))
    return cells["func"].cell_contents if "func" in cells else getattr(callback, "func", callback)


class Closing:
    """A callback, by which an executor's module may be closed for good, and how to undo that."""

    has_closed = False

    def __init__(self, callback):
        self.callback = callback
        self.module = getattr(_registered(callback), "__globals__", {})
        names = ("_shutdown", "_global_shutdown")
        self.names = [name for name in names if isinstance(self.module.get(name), bool)]

    def run(self):
        try:
            self.callback()
        except BaseException:
            sys.excepthook(*sys.exc_info())

    def reopen(self):
        for name in self.names:
            if self.module.get(name) is True:
                self.has_closed = True
                self.module[name] = False


def finish():
    """After the exit functions. Reopens what they may have closed and the next start uses again."""
    finalize = getattr(sys.modules.get("weakref"), "finalize", None)
    if finalize is not None:
        finalize._shutdown = False
        # With the next one that is made: exit functions run once.
        finalize._registered_with_atexit = False
    for name in TRACKERS:
        _end_tracker(getattr(sys.modules.get(name), "_resource_tracker", None))


def _end_tracker(tracker):
    """Ends the process by closing the pipe that it reads. It is started again at need. Not
    by the module's own function, which waits for that without a limit."""
    if getattr(tracker, "_fd", None) is None:
        return
    with tracker._lock:
        fd, pid = tracker._fd, tracker._pid
        tracker._fd = tracker._pid = None
    os.close(fd)
    deadline = time.monotonic() + MAX_PROCESS_WAIT
    try:
        while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.01)
    except ChildProcessError:
        pass
