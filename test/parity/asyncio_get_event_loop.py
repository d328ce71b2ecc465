"""asyncio.get_event_loop without a running loop."""

import asyncio
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        loop = asyncio.get_event_loop()
        print(loop.run_until_complete(asyncio.sleep(0, "value")))
        loop.close()
    except RuntimeError as error:
        print(str(error).split(" in thread")[0])
    finally:
        asyncio.set_event_loop(None)
