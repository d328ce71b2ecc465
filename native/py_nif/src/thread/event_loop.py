"""The context's event loop, and what runs on it.

Run in a namespace of its own, on the context's thread, when the first coroutine comes. The thread
runs the loop turn by turn (see `turn`), between jobs: the loop's own waits happen in Rust.
"""
import asyncio
import collections
import contextlib
import contextvars
import importlib
import math
import os
import selectors
import sys
import threading
import time
import weakref

# While a loop waits that isn't the tasks', it wakes this often, in seconds: an interrupt is seen at
# a bytecode.
WAKE_INTERVAL = 0.01
# How long what was cancelled has to clean up, in seconds: the context's `interrupt_grace`, but at
# least long enough for the exception to arrive, and not for ever at the context's end.
GRACE = max(INTERRUPT_GRACE, 0.05)
LAST_GRACE = min(max(CANCEL_GRACE, 0.05), 5.0)
# How long after its grace a task that goes on is cancelled again, and again, in seconds.
CANCEL_INTERVAL = 1.0
# What a loop says when it was stopped while something was to be completed.
STOPPED = "Event loop stopped before Future completed."
# How many callbacks one turn runs: jobs wait for it.
MAX_CALLBACKS = 32
# How long a step of a stream waits that can't be a task, in seconds. Then other jobs run.
MAX_WAIT = 0.005

# Whose code runs: a list of the number of the call. A list, because a stream's code runs for one
# call after the other.
call = contextvars.ContextVar("erlang.call")


class Selector(selectors.DefaultSelector):
    """Doesn't wait: the thread does, for jobs and for this at once."""

    waits = False

    def select(self, timeout=None):
        return super().select(timeout if self.waits else 0)


class Ready(collections.deque):
    """The callbacks that are due. The loop runs as many in a turn as it takes for the length."""

    def __len__(self):
        return min(super().__len__(), MAX_CALLBACKS)


class Loop(asyncio.SelectorEventLoop):
    """The loop of a context's tasks. To Python code it runs all the time: no other code runs it."""

    def __init__(self):
        super().__init__(Selector())
        self._ready = Ready()
        self._thread_id = threading.get_ident()


def task_factory(on, coroutine, **options):
    if not asyncio.iscoroutine(coroutine):
        raise TypeError(f"a coroutine was expected, got {coroutine!r}")
    return asyncio.Task(Step(coroutine), loop=on, **options)


def make_loop():
    if EVENT_LOOP is None:
        return Loop()
    return importlib.import_module(EVENT_LOOP).new_event_loop()


loop = make_loop()
loop.set_task_factory(task_factory)
is_ours = isinstance(loop, Loop)
set_running_loop, get_running_loop = asyncio._set_running_loop, asyncio._get_running_loop


def report(error):
    """asyncio has given it to the task that raised it; a callback's is reported here."""
    loop.call_exception_handler(
        {"message": f"{type(error).__name__} in the event loop", "exception": error}
    )


def turn(_):
    """Runs what is due, once."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(loop._asyncgen_firstiter_hook, loop._asyncgen_finalizer_hook)
    set_running_loop(loop)
    try:
        loop._run_once()
    except BaseException as error:
        report(error)
    finally:
        set_running_loop(None)
        sys.set_asyncgen_hooks(*hooks)


# The descriptors that end the waits of a loop that isn't ours.
watched = set()


def turn_other(fd):
    """The same with a loop that isn't ours: until the descriptor is readable, if there is one."""
    if fd is None:
        loop.call_soon(loop.stop)
    elif fd not in watched:
        watched.add(fd)
        loop.add_reader(fd, stop_waiting, fd)
    try:
        loop.run_forever()
    except BaseException as error:
        report(error)


def stop_waiting(fd):
    try:
        os.read(fd, 8)
    except BlockingIOError:
        pass
    loop.stop()


@contextlib.contextmanager
def waiting():
    """The loop waits by itself, as it is run here."""
    if not is_ours:
        yield
        return
    loop._selector.waits, loop._thread_id = True, None
    try:
        yield
    finally:
        loop._selector.waits, loop._thread_id = False, threading.get_ident()


def start(step, number):
    """A task that runs for the call of this number."""
    token = call.set([number])
    try:
        return asyncio.Task(step, loop=loop)
    finally:
        call.reset(token)


# Tasks that were cancelled.
cancelled = weakref.WeakSet()


def cancel_task(task, now):
    """Cancels it now, and again when its time to clean up is over."""
    if now:
        task.cancel()
    if task not in cancelled and CANCEL_GRACE != math.inf:
        cancelled.add(task)
        loop.call_later(CANCEL_GRACE, cancel_again, task, True)


def cancel_again(task, is_first):
    if task.done():
        return
    if is_first:
        asyncio.log.logger.warning(
            "a task was cancelled %g s ago and goes on: %r", CANCEL_GRACE, task
        )
    task.cancel()
    loop.call_later(CANCEL_INTERVAL, cancel_again, task, False)


def retrieve(task):
    """Has asyncio not report the exception that its caller has."""
    if task.done() and not task.cancelled():
        task.exception()


# Loops beside the tasks': while an outer job waits, and before the first job.


def run(awaitable):
    """Runs a coroutine to completion on a loop of its own. If interrupted, it is cancelled and may
    clean up."""
    on = asyncio.new_event_loop()
    try:
        return complete(on, awaitable)
    finally:
        close(on)


def run_first(awaitable):
    """Runs a coroutine to completion on the tasks' loop, before there are any."""
    with waiting():
        return complete(loop, awaitable)


def complete(on, awaitable):
    task = asyncio.ensure_future(awaitable, loop=on)
    timer = [None]

    def wake():
        timer[0] = on.call_later(WAKE_INTERVAL, wake)

    wake()
    try:
        while True:
            try:
                return on.run_until_complete(task)
            except RuntimeError as error:
                # A run that was interrupted may have left a stop behind, which is meant for it
                # alone.
                if task.done() or error.args != (STOPPED,):
                    raise
    except BaseException:
        cancel(on, [task])
        raise
    finally:
        timer[0].cancel()


def cancel(on, tasks, grace=GRACE):
    """Cancels what isn't done, and waits for it to clean up, however often it is interrupted."""
    tasks = [task for task in tasks if not task.done()]
    for task in tasks:
        task.cancel()
    end = time.monotonic() + grace
    while tasks and time.monotonic() < end:
        try:
            on.run_until_complete(asyncio.wait(tasks, timeout=end - time.monotonic()))
        except BaseException:
            pass
        tasks = [task for task in tasks if not task.done()]


def end():
    """Before the thread ends."""
    for fd in watched:
        loop.remove_reader(fd)
    with waiting():
        close(loop)


def close(on):
    try:
        cancel(on, asyncio.all_tasks(on), LAST_GRACE)
        on.run_until_complete(on.shutdown_asyncgens())
    finally:
        on.close()


async def gather(coroutines):
    """Runs coroutines side by side; their tasks, which have ended."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    if tasks:
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=GRACE)
            raise
    return tasks


# Streams.


class Pump:
    """Takes items out of an asynchronous iterator, as many as are wanted. Runs as one task, however
    many calls take the items: code that has entered a timeout or a task group leaves it in the same
    task."""

    def __init__(self, source, on):
        self.source = source
        self.on = on
        self.items = []
        # How many more items are wanted, and for how long.
        self.wanted = self.until = 0
        # Futures: an item is there; more are wanted.
        self.ready = self.resume = None

    async def run(self):
        try:
            async for item in self.source:
                self.items.append(item)
                self.wanted -= 1
                self.signal()
                if self.wanted <= 0 or time.monotonic() >= self.until:
                    self.resume = self.on.create_future()
                    await self.resume
        finally:
            await self.close()

    async def close(self):
        aclose = getattr(self.source, "aclose", None)
        if aclose is not None:
            await aclose()

    def signal(self, *_):
        if not self.ready.done():
            self.ready.set_result(None)

    def want(self, limit, budget):
        self.wanted, self.until = limit - len(self.items), time.monotonic() + budget
        self.ready = self.on.create_future()
        if self.wanted > 0 and self.resume is not None and not self.resume.done():
            self.resume.set_result(None)


class Steps:
    """An asynchronous iterator, a few items at a time. The pump doesn't know of it, so that it ends
    when nobody uses it any more."""

    def __init__(self, source, is_blocked):
        # While an outer job waits inside of the tasks' loop, a loop of its own.
        self.on = asyncio.new_event_loop() if is_blocked else loop
        self.pump = Pump(source, self.on)
        self.call = []
        self.task = None

    async def take(self, limit, budget, timeout=None):
        """The next items, at least one unless the time is up, and at most so many. After the last
        ones, a function that raises what has ended the iterator, or nothing."""
        pump = self.pump
        self.call[:] = call.get([])
        pump.want(limit, budget)
        if self.task is None:
            token = call.set(self.call)
            self.task = self.on.create_task(pump.run())
            call.reset(token)
            self.task.add_done_callback(pump.signal)
        try:
            if not pump.items and not self.task.done():
                await asyncio.wait([pump.ready], timeout=timeout)
        except asyncio.CancelledError:
            self.task.cancel()
            raise
        items, pump.items = pump.items[:limit], pump.items[limit:]
        return items, self.task.result if self.task.done() and not pump.items else None

    def take_now(self, limit, budget):
        """The same where the job can't wait as a task: perhaps no items yet."""
        if self.on is not loop:
            return complete(self.on, self.take(limit, budget, MAX_WAIT))
        time.sleep(MAX_WAIT)
        return [], None

    async def close(self):
        """Ends the iterator, if that can be ended."""
        self.call[:] = call.get([])
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task], timeout=GRACE)
            retrieve(self.task)
        await self.pump.close()

    def close_now(self):
        """The same where the job can't wait as a task."""
        if self.on.is_closed():
            return
        if self.on is loop:
            if self.task is not None:
                self.task.cancel()
        elif not self.on.is_running() and asyncio._get_running_loop() is None:
            complete(self.on, self.close())
            close(self.on)

    __del__ = close_now
