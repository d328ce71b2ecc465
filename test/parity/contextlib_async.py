"""Asynchronous context managers and an AsyncExitStack."""

import asyncio
import contextlib


@contextlib.asynccontextmanager
async def noted(name):
    print("enter", name)
    yield name
    print("exit", name)


async def main():
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(noted("a"))
        await stack.enter_async_context(noted("b"))


asyncio.run(main())
