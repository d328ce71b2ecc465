"""A logger with handlers, filters, extra fields and levels of its own."""

import io
import logging

stream = io.StringIO()
logger = logging.getLogger("parity.handlers")
logger.propagate = False
handler = logging.StreamHandler(stream)
handler.setFormatter(logging.Formatter("%(levelname)s:%(who)s:%(message)s"))
handler.addFilter(lambda record: "secret" not in record.getMessage())
logger.addHandler(handler)
logger.setLevel(logging.DEBUG)
logger.debug("one", extra={"who": "me"})
logger.error("a secret", extra={"who": "me"})
print(stream.getvalue().splitlines())
logger.removeHandler(handler)
