"""Dataclasses compare, order, freeze, replace and become dicts."""

import dataclasses


@dataclasses.dataclass(order=True, frozen=True)
class Version:
    major: int
    minor: int = 0
    tags: tuple = dataclasses.field(default=(), compare=False)


a, b = Version(1, 2), Version(1, 3, ("new",))
print(a < b, sorted([b, a])[0], dataclasses.replace(a, minor=9))
print(dataclasses.asdict(b), hash(a) == hash(Version(1, 2)))
try:
    a.major = 2
except dataclasses.FrozenInstanceError as error:
    print(error)
