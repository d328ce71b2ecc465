"""An exception in a finally clause has the first one as context."""

try:
    try:
        raise ValueError("first")
    finally:
        raise KeyError("second")
except KeyError as error:
    print(repr(error.__context__), error.__cause__)
