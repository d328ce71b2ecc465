"""Exception groups are split by except* and by their methods."""

# requires: 3.11
try:
    raise ExceptionGroup(
        "both", [ValueError(1), KeyError("k"), ExceptionGroup("in", [ValueError(2)])]
    )
except* ValueError as group:
    print([type(each).__name__ for each in group.exceptions])
except* KeyError as group:
    print(group.exceptions)
group = ExceptionGroup("g", [OSError(1), TypeError(2)])
matching, rest = group.split(TypeError)
print(repr(matching), repr(rest))
