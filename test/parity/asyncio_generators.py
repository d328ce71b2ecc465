"""Asynchronous generators are iterated over and closed."""

import asyncio


async def count():
    try:
        for n in range(10):
            yield n
    finally:
        print("closed")


async def main():
    print([n async for n in count() if n % 2])
    items = count()
    print(await anext(items))
    await items.aclose()


asyncio.run(main())
