"""unittest.main runs the tests of the program and exits."""

import io
import unittest


class Sums(unittest.TestCase):
    def test_fails(self):
        self.assertEqual([1, 2], [1, 3])


program = unittest.main(
    argv=["program"], exit=False, testRunner=unittest.TextTestRunner(stream=io.StringIO())
)
print(program.result.testsRun, len(program.result.failures))
