"""Blocking functions run in threads of the loop."""

import asyncio
import threading


async def main():
    name = await asyncio.to_thread(lambda: threading.current_thread() is threading.main_thread())
    print(name)
    print(await asyncio.get_running_loop().run_in_executor(None, sum, [1, 2]))


asyncio.run(main())
