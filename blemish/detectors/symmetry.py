"""Declared symmetries of a part: turned and mirrored copies of good images that are good parts too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from blemish.errors import SettingsError
from blemish.schema import Image

Symmetry: TypeAlias = Literal["flip_horizontal", "flip_vertical", "half_turn", "quarter_turns"]
_Turn: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]

_TURNS: Mapping[Symmetry, tuple[_Turn, ...]] = MappingProxyType(
    {
        "flip_horizontal": (lambda image: image[:, ::-1],),
        "flip_vertical": (lambda image: image[::-1],),
        "half_turn": (lambda image: image[::-1, ::-1],),
        "quarter_turns": (lambda image: np.rot90(image, 1), lambda image: np.rot90(image, 3)),
    }
)


def symmetric_copies(images: Sequence[Image], symmetries: Sequence[Symmetry]) -> tuple[Sequence[Image], ...]:
    """The images under each of the symmetries, turned when they are read; `quarter_turns` gives two sequences.

    Raises SettingsError for quarter turns of images that are not square.

    >>> image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    >>> [copies] = symmetric_copies([image], ["flip_horizontal"])
    >>> copies[0][0, 0].tolist()
    [3, 4, 5]
    """
    height, width = images[0].shape[:2]
    if "quarter_turns" in symmetries and height != width:
        raise SettingsError(
            f"symmetries: quarter_turns needs a square input, not {height} x {width}: "
            "leave it out, or give a square --size"
        )
    return tuple(_Turned(images, turn) for symmetry in symmetries for turn in _TURNS[symmetry])


def with_turned_maps(maps: NDArray[np.float32], symmetries: Sequence[Symmetry]) -> NDArray[np.float32]:
    """Maps (n, rows, columns) of images, and behind them those that the images' copies would have.

    >>> with_turned_maps(np.array([[[1, 2]]], np.float32), ["flip_horizontal"]).tolist()
    [[[1.0, 2.0]], [[2.0, 1.0]]]
    """
    places_first = np.moveaxis(maps, 0, -1)
    turned = [np.moveaxis(turn(places_first), -1, 0) for symmetry in symmetries for turn in _TURNS[symmetry]]
    return np.concatenate([maps, *turned])


@dataclass(frozen=True)
class _Turned(Sequence[Image]):
    images: Sequence[Image]
    turn: _Turn

    def __len__(self) -> int:
        return len(self.images)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Image]: ...
    def __getitem__(self, index: int | slice) -> Image | Sequence[Image]:
        if isinstance(index, slice):
            return _Turned(self.images[index], self.turn)
        return np.ascontiguousarray(self.turn(self.images[index]))
