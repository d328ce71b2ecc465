"""A configuration by dictConfig."""

import logging
import logging.config

logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"short": {"format": "%(name)s|%(message)s"}},
        "handlers": {
            "out": {
                "class": "logging.StreamHandler",
                "formatter": "short",
                "stream": "ext://sys.stdout",
            }
        },
        "loggers": {"parity.config": {"handlers": ["out"], "level": "DEBUG", "propagate": False}},
    }
)
logging.getLogger("parity.config.sub").debug("configured")
