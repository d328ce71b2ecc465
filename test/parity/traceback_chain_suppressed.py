"""raise from None hides the context."""

import traceback

try:
    try:
        {}["x"]
    except KeyError:
        raise LookupError("hidden") from None
except LookupError as error:
    print(error.__suppress_context__, "KeyError" in "".join(traceback.format_exception(error)))
    print(type(error.__context__).__name__)
