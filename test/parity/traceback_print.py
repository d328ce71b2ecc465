"""print_exc writes to standard error, with causes and notes."""

import traceback

try:
    try:
        raise KeyError("a")
    except KeyError as error:
        raise ValueError("b") from error
except ValueError as error:
    text = "".join(traceback.format_exception(error))
    print("direct cause" in text, text.splitlines()[-1])
    print(traceback.format_exception_only(error))
