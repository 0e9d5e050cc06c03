"""What all readers of image files share: bytes at places of a file, the facts of an image, and the one error."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

from numpy.typing import NDArray

ImageFormat = Literal["PNG", "JPEG", "BMP", "TIFF", "WebP"]

CUT_OFF = "the file is cut off"
MAX_INFLATION = 1040
"""Most bytes that one byte of Deflate (PNG, TIFF) can become; a file that promises more is not decoded at all."""


class ContainerError(ValueError):
    """The bytes are not an image file that can be used; the message says why, without the file's name."""


class Source:
    """Bytes at places of a file that lies in memory or on disk; a place beyond its end means that it is cut off."""

    def __init__(self, data: bytes | BinaryIO) -> None:
        self._data = data
        self.size = len(data) if isinstance(data, bytes) else data.seek(0, 2)

    def take(self, place: int, length: int) -> bytes:
        """`length` bytes from `place` on; raises ContainerError where the file does not hold them all."""
        if place < 0 or length < 0 or place + length > self.size:
            raise ContainerError(CUT_OFF)
        if isinstance(self._data, bytes):
            return self._data[place : place + length]
        self._data.seek(place)
        taken = self._data.read(length)
        if len(taken) < length:  # the file became shorter meanwhile
            raise ContainerError(CUT_OFF)
        return taken

    def unpack(self, layout: str, place: int) -> tuple[Any, ...]:
        """The numbers of a `struct` layout at `place`."""
        return struct.unpack(layout, self.take(place, struct.calcsize(layout)))


@dataclass(frozen=True)
class Container:
    """The facts of an image file: `height` and `width` as stored, before `orientation` (EXIF, 1 to 8) is applied.

    `page` is the one that the facts are of, from 1 on, of `num_pages`. `bits` are those of each channel; `has_alpha`
    and `is_lossy` tell what else the stored values may be. `layout` is what the decoder of the format needs to know.
    """

    format: ImageFormat
    height: int
    width: int
    orientation: int = 1
    num_pages: int = 1
    page: int = 1
    bits: int = 8
    has_alpha: bool = False
    is_lossy: bool = False
    layout: Any = None

    @property
    def oriented_hw(self) -> tuple[int, int]:
        """Height and width as shown: orientations 5 to 8 lie on their side."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


@dataclass(frozen=True)
class Stored:
    """Decoded pixels, not yet upright: gray (height, width), RGB, or RGB with alpha, in the number type of the file.

    `white` is the value of full brightness of whole numbers; floating point has none.
    """

    pixels: NDArray[Any]
    white: int | None
