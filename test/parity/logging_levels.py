"""The root logger's level is WARNING until it is set."""

import logging

root = logging.getLogger()
print(logging.getLevelName(root.level), root.isEnabledFor(logging.INFO), root.hasHandlers())
print(logging.getLogger("parity.levels").getEffectiveLevel())
