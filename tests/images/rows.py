"""What the rows of the table of containers in docs/data.md are made of: files, and what must become of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import PIL.Image
from numpy.typing import NDArray


@dataclass(frozen=True)
class File:
    """A file and the pixels that it must give, within `tolerance`; or, as text, why it must be refused."""

    what: str
    data: bytes
    expected: NDArray[np.uint8] | str
    tolerance: int = 0


Files = Iterator[File]
MADE: dict[tuple[str, str], Callable[[], Files]] = {}


def row(container: str, text: str) -> Callable[[Callable[[], Files]], Callable[[], Files]]:
    """Declares that a function makes the files of one row of the table."""

    def declare(make: Callable[[], Files]) -> Callable[[], Files]:
        MADE[container, text] = make
        return make

    return declare


def by_pillow(data: bytes) -> NDArray[np.uint8]:
    """What Pillow, which the package does not use, reads."""
    return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))


def turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The pixels as EXIF means them, by its own table of where row 0 and column 0 lie."""
    return {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: pixels.swapaxes(0, 1)[:, ::-1],
        7: pixels.swapaxes(0, 1)[::-1, ::-1],
        8: pixels.swapaxes(0, 1)[::-1],
    }[orientation]
