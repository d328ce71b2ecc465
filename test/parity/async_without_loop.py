"""Coroutines are driven by hand."""


async def two():
    return 2


async def main():
    return await two() + 1


coroutine = main()
try:
    coroutine.send(None)
except StopIteration as stop:
    print(stop.value)
print(coroutine.cr_frame, main.__code__.co_flags & 128)
