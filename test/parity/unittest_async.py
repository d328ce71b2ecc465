"""An asynchronous test case."""

import asyncio
import io
import unittest


class Waits(unittest.IsolatedAsyncioTestCase):
    async def test_waits(self):
        await asyncio.sleep(0)
        self.assertTrue(asyncio.get_running_loop().is_running())


result = unittest.TextTestRunner(stream=io.StringIO()).run(
    unittest.defaultTestLoader.loadTestsFromTestCase(Waits)
)
print(result.testsRun, result.errors)
