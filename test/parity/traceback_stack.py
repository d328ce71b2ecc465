"""format_stack and walk_stack see the functions that are running."""

import traceback


def f():
    return [frame.f_code.co_name for frame, _ in traceback.walk_stack(None)]


def g():
    return f()


print([name for name in g() if name in ("f", "g", "<module>")])
