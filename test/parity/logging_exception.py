"""logging.exception formats the traceback."""

# plain: file
import io
import logging

stream = io.StringIO()
logger = logging.getLogger("parity.exception")
logger.propagate = False
logger.addHandler(logging.StreamHandler(stream))
try:
    1 / 0
except ZeroDivisionError:
    logger.exception("failed")
lines = stream.getvalue().splitlines()
print(lines[0], lines[1], "1 / 0" in stream.getvalue(), lines[-1])
