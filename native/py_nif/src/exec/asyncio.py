"""The context's event loop, and what runs on it.

Run in a namespace of its own, on the context's thread, when the first coroutine comes.
"""
import asyncio
import time

loop = asyncio.new_event_loop()

# While it waits, the loop wakes this often, in seconds: an interrupt is seen at a bytecode.
BEAT = 0.01
# How long what was cancelled has to clean up, in seconds.
GRACE = 1.0
# How long one step of a stream may wait, in seconds: then others have their turn.
SLICE = 0.005


def run(awaitable):
    """Runs a coroutine to completion. If interrupted, it is cancelled and may clean up."""
    task = asyncio.ensure_future(awaitable, loop=loop)
    beat = [None]

    def beats():
        beat[0] = loop.call_later(BEAT, beats)

    beats()
    try:
        return loop.run_until_complete(task)
    except BaseException:
        cancel([task])
        raise
    finally:
        beat[0].cancel()


def cancel(tasks):
    """Cancels what isn't done, and waits for it to clean up, however often it is interrupted."""
    tasks = [task for task in tasks if not task.done()]
    for task in tasks:
        task.cancel()
    end = time.monotonic() + GRACE
    while tasks and time.monotonic() < end:
        try:
            loop.run_until_complete(asyncio.wait(tasks, timeout=end - time.monotonic()))
        except BaseException:
            pass
        tasks = [task for task in tasks if not task.done()]


def gather(coroutines, timeout):
    """Runs coroutines side by side; for each its task and whether its time was up."""
    tasks = [loop.create_task(coroutine) for coroutine in coroutines]
    try:
        _, late = run(asyncio.wait(tasks, timeout=timeout))
    except BaseException:
        cancel(tasks)
        raise
    cancel(late)
    return [(task, task in late) for task in tasks]


class Pump:
    """Takes items out of an asynchronous iterator, as many as are wanted. Runs as a task."""

    def __init__(self, source):
        self.source = source
        self.items = []
        self.most = self.until = 0
        self.ready = self.wanted = None

    async def run(self):
        async for item in self.source:
            self.items.append(item)
            if len(self.items) >= self.most or time.monotonic() >= self.until:
                if not self.ready.done():
                    self.ready.set_result(None)
                self.wanted = loop.create_future()
                await self.wanted

    def want(self, most, budget):
        self.most, self.until = most, time.monotonic() + budget
        self.ready = loop.create_future()
        if self.wanted is not None and not self.wanted.done():
            self.wanted.set_result(None)


class Steps:
    """An asynchronous iterator, a few items at a time. The pump doesn't know of it, so that it ends
    when nobody uses it any more."""

    def __init__(self, source):
        self.pump = Pump(source)
        self.task = None
        self.closed = False

    def take(self, most, budget):
        """At most so many items, and whether these were the last."""
        pump = self.pump
        pump.want(most, budget)
        if self.task is None:
            self.task = loop.create_task(pump.run())
        either = {pump.ready, self.task}
        run(asyncio.wait(either, timeout=SLICE, return_when=asyncio.FIRST_COMPLETED))
        items, pump.items = pump.items, []
        return items, self.task.done()

    def outcome(self):
        """None, or the exception that ended it is raised."""
        return self.task.result()

    def close(self):
        if self.closed or loop.is_closed() or loop.is_running():
            return
        self.closed = True
        if self.task is not None:
            cancel([self.task])
            # Looked at: nobody else will.
            self.task.cancelled() or self.task.exception()
        aclose = getattr(self.pump.source, "aclose", None)
        if aclose is not None:
            run(aclose())

    def __del__(self):
        self.close()


def end():
    """Before the thread ends."""
    try:
        cancel(asyncio.all_tasks(loop))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
