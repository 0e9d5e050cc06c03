"""Checks that a value means something, for the dataclasses of this package: each raises, naming field and value.

The errors are those of the package and `ValueError`s too, so that pydantic adds the place where it reads a file.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Collection, Sequence
from typing import Annotated, Any, TypeAlias, TypeVar

import numpy as np

from blemish.errors import CalibrationError

FLOAT32_MAX = float(np.finfo(np.float32).max)
"""The largest score or map value that a graph can give."""
MAX_COUNT = 1_000_000_000
MAX_TEXT = 1_000
"""Characters of a text that stands on one line."""


class FirstFault:
    """Mark of a sequence that pydantic stops reading at its first fault: a file may hold a million of them."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return {**handler(source), "fail_fast": True}


Item = TypeVar("Item")
Many: TypeAlias = Annotated[tuple[Item, ...], FirstFault()]
"""A tuple of any length."""


def check_number(
    name: str,
    value: Any,
    low: float = -FLOAT32_MAX,
    high: float = FLOAT32_MAX,
    *,
    is_open: bool = False,
    error: type[Exception] = CalibrationError,
) -> None:
    """`value` is a finite number from `low` to `high`; with `is_open` neither of the two is allowed."""
    if _is_other(value, numbers.Real) or not -math.inf < value < math.inf:
        raise error(f"{name} is {shown(value)}; it must be a finite number")
    if not (low < value < high if is_open else low <= value <= high):
        limits = f"over {low:g} and under {high:g}" if is_open else f"from {low:g} to {high:g}"
        raise error(f"{name} is {shown(value)}; it must be {limits}")


def check_count(
    name: str, value: Any, low: int = 0, high: int = MAX_COUNT, *, error: type[Exception] = CalibrationError
) -> None:
    """`value` is a whole number from `low` to `high`."""
    if _is_other(value, numbers.Integral) or not low <= value <= high:
        raise error(f"{name} is {shown(value)}; it must be a whole number from {low:,} to {high:,}")


def check_choice(
    name: str, value: Any, known: Collection[object], *, error: type[Exception] = CalibrationError
) -> None:
    if not any(value == choice for choice in known):
        raise error(f"{name} is {shown(value)}; it must be one of {', '.join(map(repr, known))}")


def check_text(name: str, value: Any, *, may_be_empty: bool = True, error: type[Exception] = CalibrationError) -> None:
    """`value` is a text of one line, without control characters that a terminal would obey."""
    if not isinstance(value, str) or len(value) > MAX_TEXT or re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", value):
        raise error(f"{name} is {shown(value)}; it must be one line of at most {MAX_TEXT:,} characters")
    if not may_be_empty and not value.strip():
        raise error(f"{name} is empty")


def check_sorted(name: str, values: Sequence[float], *, num_least: int = 1, is_strict: bool = False) -> None:
    """`values` are finite numbers, in ascending order; with `is_strict` no two are equal."""
    array = check_numbers(name, values, num_least=num_least)
    steps = np.diff(array)
    if (steps <= 0 if is_strict else steps < 0).any():
        raise CalibrationError(f"{name} must be in ascending order{', each only once' if is_strict else ''}")


def check_numbers(name: str, values: Sequence[float], *, num_least: int = 0) -> np.ndarray:
    """`values` as float64, once they are all finite and at least `num_least`."""
    if len(values) < num_least:
        raise CalibrationError(f"{name} holds {len(values)} values; it must hold at least {num_least}")
    if any(issubclass(kind, bool) or not issubclass(kind, numbers.Real) for kind in set(map(type, values))):
        raise CalibrationError(f"{name} must hold numbers only")
    try:
        array = np.array(values, dtype=np.float64)
    except OverflowError:
        array = np.array([np.inf])
    if not (np.abs(array) <= FLOAT32_MAX).all():
        raise CalibrationError(f"{name} must hold finite numbers only, at most {FLOAT32_MAX:g}")
    return array


def shown(value: object) -> str:
    """The value for a message, on one line and short."""
    try:
        text = repr(value)
    except ValueError:  # whole numbers of thousands of digits
        return "a number too long to show"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_other(value: Any, kind: type) -> bool:
    """Whether a value is no number of a kind; True and False are none."""
    return isinstance(value, bool) or not isinstance(value, kind)
