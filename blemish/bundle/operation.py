"""One operation of a graph with its inputs, and the checked ways in which a rule looks at them. Raises ValueError."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from blemish.bundle.wire import ITEM_BYTES, Data, Node, Tensor

Shape = tuple[int, ...]
Typed = tuple[str, Shape]
"""Type of the numbers and shape of a value."""

MAX_SIDES = 8
MAX_STEP = 65_536
"""Bound of strides, dilations, paddings and the like."""


@dataclass(frozen=True)
class Value:
    """A value of a graph; `data` where it is small and known, `is_constant` where it does not depend on the image."""

    dtype: str
    shape: Shape
    data: Data | None = None
    is_constant: bool = False

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        return self.size * ITEM_BYTES[self.dtype]


class Call:
    """An operation with its inputs; a rule may set `num_products`, the multiplications that it takes."""

    def __init__(self, node: Node, inputs: Sequence[Value | None]) -> None:
        self.node = node
        self._inputs = inputs
        self.num_products = 0

    def __len__(self) -> int:
        return len(self._inputs)

    def optional(self, place: int) -> Value | None:
        return self._inputs[place] if place < len(self._inputs) else None

    def input(self, place: int) -> Value:
        value = self.optional(place)
        if value is None:
            raise ValueError(f"lacks input {place + 1}")
        return value

    def all_inputs(self) -> list[Value]:
        return [self.input(place) for place in range(len(self))]

    def shape(self, place: int = 0, *, least: int = 0) -> Shape:
        """The shape of an input with at least so many sides."""
        shape = self.input(place).shape
        if len(shape) < least:
            raise ValueError(f"takes at least {least} sides, not {len(shape)}")
        return shape

    def known(self, place: int) -> list[Any]:
        """The values of an input as a flat list; they must not depend on the image."""
        data = self.input(place).data
        if data is None:
            raise ValueError(f"depends on the values of input {place + 1}, which are not known before it runs")
        values: list[Any] = data.ravel().tolist()
        return values

    def whole(self, name: str, default: int | None, low: int = -MAX_STEP, high: int = MAX_STEP) -> int:
        """An attribute that is a whole number."""
        value = self.node.attributes.get(name, default)
        if not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"has {name} {str(value)[:40]}; allowed are {low} to {high}")
        return value

    def wholes(
        self, name: str, default: Sequence[int] | None, low: int = 0, high: int = MAX_STEP, *, count: int | None = None
    ) -> tuple[int, ...]:
        """An attribute that is a list of whole numbers."""
        value = self.node.attributes.get(name, default)
        if value is None or isinstance(value, (int, float, str, Tensor)):
            raise ValueError(f"lacks {name}")
        numbers = tuple(value)
        if not all(isinstance(number, int) and low <= number <= high for number in numbers):
            raise ValueError(f"has {name} {str(numbers)[:40]}; allowed are {low} to {high}")
        if count is not None and len(numbers) != count:
            raise ValueError(f"has {len(numbers)} {name}; {count} are needed")
        return numbers

    def text(self, name: str, default: str, allowed: Sequence[str]) -> str:
        value = self.node.attributes.get(name, default)
        if value not in allowed:
            raise ValueError(f"has {name} {str(value)[:40]!r}; allowed are {', '.join(allowed)}")
        return str(value)

    def axis(self, default: int | None, sides: int, name: str = "axis", *, is_new: bool = False) -> int:
        """The attribute `axis`, counted from the front; `is_new` allows the place behind the last."""
        return place_of(self.whole(name, default), sides + is_new)

    def axes(self, place: int, sides: int) -> tuple[int, ...] | None:
        """Axes from an attribute or from an input, None where neither is given."""
        if "axes" in self.node.attributes:
            found: Sequence[int] = self.wholes("axes", None, -MAX_SIDES)
        elif self.optional(place) is not None:
            found = [int(number) for number in self.known(place)]
        else:
            return None
        places = tuple(place_of(number, sides) for number in found)
        if len(set(places)) < len(places):
            raise ValueError("names an axis twice")
        return places


def place_of(axis: int, sides: int) -> int:
    if not -sides <= axis < sides:
        raise ValueError(f"names axis {axis} of {sides}")
    return axis % sides
