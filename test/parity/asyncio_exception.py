"""An exception leaves asyncio.run, and one that nobody sees is reported."""

import asyncio


async def fail():
    raise KeyError("lost")


async def main():
    seen = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: seen.append(context["message"])
    )
    task = asyncio.ensure_future(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    import gc

    gc.collect()
    print(seen)
    raise ValueError("out of run")


try:
    asyncio.run(main())
except ValueError as error:
    print(error)
