"""The context's event loop, and what runs on it.

Run in a namespace of its own, on the context's thread, when the first coroutine comes.
"""
import asyncio
import time

loop = asyncio.new_event_loop()

# While it waits, the loop wakes this often, in seconds: an interrupt is seen at a bytecode.
WAKE_INTERVAL = 0.01
# How long what was cancelled has to clean up, in seconds: the context's `interrupt_grace`, but at
# least long enough for the exception to arrive, and not for ever at the context's end.
GRACE = max(INTERRUPT_GRACE, 0.05)
LAST_GRACE = min(GRACE, 5.0)
# What the loop says when it was stopped while something was to be completed.
STOPPED = "Event loop stopped before Future completed."
# How long one step of a stream may wait, in seconds. Then other jobs run.
MAX_WAIT = 0.005


def idle_loop():
    """The context's loop or, while an outer job waits inside of it, another one."""
    return asyncio.new_event_loop() if loop.is_running() else loop


def close_unless_own(on):
    """Closes a loop that isn't the context's."""
    if on is not loop:
        close(on)


def run(awaitable):
    """Runs a coroutine to completion. If interrupted, it is cancelled and may clean up."""
    on = idle_loop()
    try:
        return complete(on, awaitable)
    finally:
        close_unless_own(on)


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


def gather(coroutines, timeout):
    """Runs coroutines side by side; for each its task and whether its time was up."""
    on = idle_loop()
    try:
        tasks = [on.create_task(coroutine) for coroutine in coroutines]
        try:
            _, late = complete(on, asyncio.wait(tasks, timeout=timeout))
        except BaseException:
            cancel(on, tasks)
            raise
        cancel(on, late)
        return [(task, task in late) for task in tasks]
    finally:
        close_unless_own(on)


class Pump:
    """Takes items out of an asynchronous iterator, as many as are wanted. Runs as a task."""

    def __init__(self, source, on):
        self.source = source
        self.on = on
        self.items = []
        self.limit = self.until = 0
        self.ready = self.wanted = None

    async def run(self):
        async for item in self.source:
            self.items.append(item)
            if len(self.items) >= self.limit or time.monotonic() >= self.until:
                if not self.ready.done():
                    self.ready.set_result(None)
                self.wanted = self.on.create_future()
                await self.wanted

    def want(self, limit, budget):
        self.limit, self.until = limit, time.monotonic() + budget
        self.ready = self.on.create_future()
        if self.wanted is not None and not self.wanted.done():
            self.wanted.set_result(None)


class Steps:
    """An asynchronous iterator, a few items at a time. The pump doesn't know of it, so that it ends
    when nobody uses it any more."""

    def __init__(self, source):
        self.on = idle_loop()
        self.pump = Pump(source, self.on)
        self.task = None
        self.closed = False

    def take(self, limit, budget):
        """At most so many items, and whether these were the last."""
        if self.on.is_running():
            # An outer job waits inside of the loop: no items yet.
            time.sleep(MAX_WAIT)
            return [], False
        pump = self.pump
        pump.want(limit, budget)
        if self.task is None:
            self.task = self.on.create_task(pump.run())
        either = {pump.ready, self.task}
        first = asyncio.wait(either, timeout=MAX_WAIT, return_when=asyncio.FIRST_COMPLETED)
        complete(self.on, first)
        items, pump.items = pump.items, []
        return items, self.task.done()

    def outcome(self):
        """None, or the exception that ended it is raised."""
        return self.task.result()

    def close(self):
        if self.closed or self.on.is_closed() or self.on.is_running():
            return
        if asyncio._get_running_loop() is not None:
            # Collected as garbage while another loop runs, beside which this one can't.
            return
        self.closed = True
        if self.task is not None:
            cancel(self.on, [self.task])
            # Retrieved, so that asyncio doesn't log it.
            self.task.cancelled() or self.task.exception()
        aclose = getattr(self.pump.source, "aclose", None)
        if aclose is not None:
            complete(self.on, aclose())
        close_unless_own(self.on)

    def __del__(self):
        self.close()


def end():
    """Before the thread ends."""
    close(loop)


def close(on):
    try:
        cancel(on, asyncio.all_tasks(on), LAST_GRACE)
        on.run_until_complete(on.shutdown_asyncgens())
    finally:
        on.close()
