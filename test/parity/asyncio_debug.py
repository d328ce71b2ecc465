"""In debug mode of asyncio nothing is printed but what should be."""

import asyncio


async def main():
    print(asyncio.get_running_loop().get_debug())


asyncio.run(main(), debug=True)
