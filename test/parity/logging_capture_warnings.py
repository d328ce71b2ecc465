"""Warnings go to the logger py.warnings if they are captured."""

import io
import logging
import warnings

stream = io.StringIO()
logger = logging.getLogger("py.warnings")
handler = logging.StreamHandler(stream)
logger.addHandler(handler)
logger.propagate = False
logging.captureWarnings(True)
warnings.warn("caught by logging")
logging.captureWarnings(False)
logger.removeHandler(handler)
logger.propagate = True
print("UserWarning: caught by logging" in stream.getvalue())
