"""A function of the program is imported from __main__."""


def answer():
    return 42


from __main__ import answer as imported

print(imported is answer, imported())
