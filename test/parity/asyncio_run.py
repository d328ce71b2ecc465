"""asyncio.run with tasks, gather and timeouts."""

import asyncio


async def double(n):
    await asyncio.sleep(0)
    return 2 * n


async def main():
    print(await asyncio.gather(*(double(n) for n in range(3))))
    task = asyncio.create_task(asyncio.sleep(60))
    try:
        await asyncio.wait_for(task, 0.01)
    except asyncio.TimeoutError:
        print("too slow", task.cancelled())


asyncio.run(main())
