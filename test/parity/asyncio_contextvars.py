"""Tasks have copies of the context."""

import asyncio
import contextvars

name = contextvars.ContextVar("name", default="nobody")


async def work(value):
    name.set(value)
    await asyncio.sleep(0)
    return name.get()


async def main():
    print(await asyncio.gather(work("a"), work("b")), name.get())


asyncio.run(main())
