"""A formatted traceback has the lines of the source."""

# plain: file
import traceback


def divide():
    return 1 / 0


try:
    divide()
except ZeroDivisionError:
    print(
        [
            line.strip()
            for line in traceback.format_exc().splitlines()
            if not line.strip().startswith(("File", "^", "~"))
        ]
    )
