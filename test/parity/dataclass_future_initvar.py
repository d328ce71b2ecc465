"""With annotations as text an InitVar of a dataclass is only an argument."""

from __future__ import annotations

import dataclasses
from dataclasses import InitVar


@dataclasses.dataclass
class Order:
    count: int
    price: InitVar[int]
    total: int = 0

    def __post_init__(self, price):
        self.total = self.count * price


print(Order(2, 3), [field.name for field in dataclasses.fields(Order)])
