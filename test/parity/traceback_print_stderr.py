"""What traceback.print_exception writes to standard error, line by line."""

# plain: file
import traceback

try:
    raise OSError(2, "No such file", "some name")
except OSError as error:
    traceback.print_exception(type(error), error, None)
