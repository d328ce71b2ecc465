"""Loops with else, break, continue, and try with else and finally."""

for n in range(3):
    if n == 5:
        break
else:
    print("not broken", n)
while True:
    break


def f(x):
    try:
        if x:
            raise KeyError(x)
    except KeyError:
        return "except"
    else:
        return "else"
    finally:
        print("finally")


print(f(0), f(1))
