"""What is set in or deleted from __main__ is so in the program."""

import __main__

setattr(__main__, "made", [1])
made.append(2)
print(made, hasattr(__main__, "made"), "made" in vars(__main__))
del __main__.made
try:
    made
except NameError as error:
    print(error)
