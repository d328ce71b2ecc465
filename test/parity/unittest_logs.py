"""assertLogs and assertWarns see what a test causes."""

import logging
import unittest
import warnings

case = unittest.TestCase()
with case.assertLogs("parity.logs", level="INFO") as seen:
    logging.getLogger("parity.logs").info("something")
print(seen.output)
with case.assertWarns(UserWarning) as warned:
    warnings.warn("careful")
print(warned.warning)
