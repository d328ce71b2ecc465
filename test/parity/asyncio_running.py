"""There is no running loop outside of asyncio.run."""

import asyncio

try:
    asyncio.get_running_loop()
except RuntimeError as error:
    print(error)


async def main():
    try:
        asyncio.run(asyncio.sleep(0))
    except RuntimeError as error:
        print(error)


import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    asyncio.run(main())
