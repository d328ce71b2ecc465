"""contextmanager, ExitStack, suppress, closing, nullcontext."""

import contextlib

order = []


@contextlib.contextmanager
def noted(name):
    order.append(f"enter {name}")
    try:
        yield name
    finally:
        order.append(f"exit {name}")


with contextlib.ExitStack() as stack:
    stack.enter_context(noted("a"))
    stack.enter_context(noted("b"))
    stack.callback(order.append, "callback")
print(order)
with contextlib.suppress(KeyError):
    {}["x"]
with contextlib.nullcontext(5) as five:
    print(five)
