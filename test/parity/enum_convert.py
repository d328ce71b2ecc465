"""An enum is made of the constants of the program by their names."""

import enum

PARITY_ONE = 1
PARITY_TWO = 2
Parity = enum.IntEnum._convert_("Parity", "__main__", lambda name: name.startswith("PARITY_"))
print(list(Parity), PARITY_ONE is Parity.PARITY_ONE)
