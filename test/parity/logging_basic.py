"""logging.basicConfig with a stream of the program's."""

import logging
import sys

root = logging.getLogger()
kept = root.handlers[:], root.level
logging.basicConfig(
    level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(name)s %(message)s", force=True
)
logging.info("info %d", 1)
logging.getLogger("a.b").debug("unseen")
logging.getLogger("a.b").warning("seen")
root.handlers[:] = kept[0]
root.setLevel(kept[1])
