"""A queue and its listener, which is a thread."""

import io
import logging
import logging.handlers
import queue

stream = io.StringIO()
messages = queue.Queue()
logger = logging.getLogger("parity.queue")
logger.propagate = False
handler = logging.handlers.QueueHandler(messages)
logger.addHandler(handler)
listener = logging.handlers.QueueListener(messages, logging.StreamHandler(stream))
listener.start()
logger.warning("by a thread")
listener.stop()
logger.removeHandler(handler)
print(stream.getvalue().strip())
