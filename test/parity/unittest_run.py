"""Test cases of the program are found in __main__ and run."""

import io
import sys
import unittest


class Sums(unittest.TestCase):
    def test_good(self):
        self.assertEqual(1 + 1, 2)

    @unittest.skip("not now")
    def test_skipped(self):
        self.fail()

    def test_raises(self):
        with self.assertRaisesRegex(ZeroDivisionError, "zero"):
            1 / 0


stream = io.StringIO()
suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
result = unittest.TextTestRunner(stream=stream).run(suite)
print(result.testsRun, len(result.skipped), result.wasSuccessful())
