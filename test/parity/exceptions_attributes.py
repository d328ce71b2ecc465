"""Attributes of exceptions: args, notes, tracebacks, names."""

try:
    object().missing
except AttributeError as error:
    print(error.name, error.args)
try:
    undefined_name
except NameError as error:
    print(error.name)
try:
    raise ValueError(1, "two").with_traceback(None)
except ValueError as error:
    print(error.args, error.__traceback__.tb_lineno)
try:
    next(iter([]))
except StopIteration as error:
    print(error.value)
