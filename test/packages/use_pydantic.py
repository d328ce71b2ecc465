"""Models with annotations that are text, nested ones, and what is refused."""
from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ValidationError, field_validator


class Item(BaseModel):
    made: ClassVar[int] = 0
    name: str
    price: float

    @field_validator("price")
    @classmethod
    def positive(cls, value):
        if value <= 0:
            raise ValueError("must be positive")
        return value


class Order(BaseModel):
    items: list[Item]
    note: str | None = None


def work():
    order = Order.model_validate_json('{"items": [{"name": "tea", "price": "1.5"}]}')
    try:
        Order(items=[{"name": "tea", "price": -1}])
    except ValidationError as error:
        refused = [[list(each["loc"]), each["type"]] for each in error.errors()]
    return [order.model_dump(), refused, sorted(Item.model_fields)]
