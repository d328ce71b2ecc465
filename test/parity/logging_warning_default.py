"""Without any configuration a warning is written to standard error."""

import logging

logging.warning("unconfigured")
logging.info("unseen")
