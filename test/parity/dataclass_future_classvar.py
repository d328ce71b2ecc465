"""With annotations as text a ClassVar of a dataclass is no field."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar


@dataclass
class Item:
    name: str
    made: ClassVar[int] = 0


print([field.name for field in fields(Item)], Item("tea"))
