"""Slots that built-in types inherit are those of their bases."""

print(int.__str__ is object.__str__, dict.__setattr__ is object.__setattr__)
print(OSError.__getattribute__ is BaseException.__getattribute__, type(None).__init__)
