"""Context variables: set, reset, run in a copy."""

import contextvars

level = contextvars.ContextVar("level", default=0)
token = level.set(1)
context = contextvars.copy_context()
level.reset(token)
print(level.get(), context[level], context.run(lambda: level.set(5) and level.get()), level.get())
