"""The token of a context variable knows whether the variable had a value before."""

import contextvars

level = contextvars.ContextVar("level")
first, second = level.set(1), level.set(2)
print(first.old_value is contextvars.Token.MISSING, second.old_value, first.old_value)
