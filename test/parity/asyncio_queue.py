"""Producers and consumers, a lock and an event of asyncio."""

import asyncio


async def main():
    queue = asyncio.Queue(1)
    taken = []

    async def consume():
        while (item := await queue.get()) is not None:
            taken.append(item)

    consumer = asyncio.create_task(consume())
    for item in (1, 2, 3, None):
        await queue.put(item)
    await consumer
    print(taken)
    async with asyncio.Lock():
        print("locked")


asyncio.run(main())
