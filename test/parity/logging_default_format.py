"""basicConfig without arguments writes to standard error in Python's format."""

import logging

root = logging.getLogger()
kept = root.handlers[:], root.level
logging.basicConfig(level=logging.INFO)
logging.info("configured")
logging.getLogger("some.name").warning("named")
root.handlers[:] = kept[0]
root.setLevel(kept[1])
