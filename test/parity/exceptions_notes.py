"""Notes are added to exceptions and printed."""

# requires: 3.11
import traceback

try:
    try:
        raise ValueError("bad")
    except ValueError as error:
        error.add_note("while reading")
        raise
except ValueError as error:
    print(error.__notes__, traceback.format_exception_only(error))
