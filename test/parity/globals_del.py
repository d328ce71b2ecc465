"""A deleted name is gone, also that of an exception after its clause."""

value = 1
del value
print("value" in globals())
try:
    1 / 0
except ZeroDivisionError as error:
    pass
print("error" in globals())
try:
    value
except NameError as error:
    print(error)
