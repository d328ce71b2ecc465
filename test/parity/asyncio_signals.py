"""A loop in the main thread can handle a signal."""

import asyncio
import signal


async def main():
    loop = asyncio.get_running_loop()
    seen = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR2, seen.set)
    signal.raise_signal(signal.SIGUSR2)
    await asyncio.wait_for(seen.wait(), 5)
    loop.remove_signal_handler(signal.SIGUSR2)
    print("handled")


asyncio.run(main())
