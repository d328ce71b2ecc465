"""Task groups end all of their tasks when one fails."""

# requires: 3.11
import asyncio


async def fail():
    raise ValueError("one failed")


async def main():
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            waiting = group.create_task(asyncio.sleep(60))
    except* ValueError as errors:
        print(errors.exceptions, waiting.cancelled())


asyncio.run(main())
