"""What a test runner writes while it runs."""

import io
import re
import unittest


class Sums(unittest.TestCase):
    def test_good(self):
        with self.subTest("one"):
            self.assertTrue(True)

    def test_printed(self):
        print("printed by a test")


stream = io.StringIO()
suite = unittest.defaultTestLoader.loadTestsFromTestCase(Sums)
unittest.TextTestRunner(stream=stream, verbosity=2, buffer=True).run(suite)
print(re.sub(r"in [0-9.]+s", "in no time", stream.getvalue()))
