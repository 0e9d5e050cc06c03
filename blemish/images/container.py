"""What an image file says of itself before any pixel is decoded: format, size, orientation, and whether it is whole.

Decoders fill what is missing of a file that was cut off with gray, some without a word, and they trust the size in the
header; so the structure of each file is read here first. Only the parts that decide are read, by the formats'
published layouts (PNG, JPEG, BMP, TIFF and BigTIFF, WebP).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

ImageFormat = Literal["PNG", "JPEG", "BMP", "TIFF", "WebP"]

CUT_OFF = "the file is cut off"


class ContainerError(ValueError):
    """The bytes are not an image file that can be used; the message says why, without the file's name."""


@dataclass(frozen=True)
class Container:
    """The facts of an image file: `height` and `width` as stored, before `orientation` (EXIF, 1 to 8) is applied.

    `alpha_at` is the place in the file of a TIFF's mark of unassociated alpha, if it has one.
    """

    format: ImageFormat
    height: int
    width: int
    orientation: int = 1
    alpha_at: int | None = None

    @property
    def oriented_hw(self) -> tuple[int, int]:
        """Height and width as shown: orientations 5 to 8 lie on their side."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_container(data: bytes, *, is_whole: bool = True) -> Container:
    """The facts of an image file from its bytes; raises `ContainerError` where it is damaged or of another kind.

    With `is_whole=False` the bytes are only the beginning of a file: nothing is said about its end.
    """
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _read_png(data, is_whole)
        if data.startswith(b"\xff\xd8\xff"):
            return _read_jpeg(data, is_whole)
        if data.startswith(b"BM"):
            return _read_bmp(data, is_whole)
        if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _read_tiff(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _read_webp(data, is_whole)
    except (struct.error, IndexError, OverflowError) as error:  # a place beyond the end of the file
        raise ContainerError(CUT_OFF) from error
    if not data:
        raise ContainerError("the file is empty")
    raise ContainerError("this is not a PNG, JPEG, BMP, TIFF or WebP file")


def _read_png(data: bytes, is_whole: bool) -> Container:
    if data[12:16] != b"IHDR":
        raise ContainerError("damaged PNG file: it does not begin with its header")
    width, height = struct.unpack_from(">II", data, 16)
    orientation = 1
    view = memoryview(data)
    position = 8
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if is_whole and zlib.crc32(view[position + 4 : end - 4]) != checksum:
            raise ContainerError("damaged PNG file: a checksum is wrong")
        if kind == b"eXIf":
            orientation = _read_exif_orientation(data[position + 8 : end - 4])
        if kind == b"IEND":
            return Container("PNG", height, width, orientation)
        position = end
    if is_whole:
        raise ContainerError(CUT_OFF)
    return Container("PNG", height, width, orientation)


def _read_jpeg(data: bytes, is_whole: bool) -> Container:
    hw: tuple[int, int] | None = None
    orientation = 1
    position = 2
    while True:
        marker, code = struct.unpack_from(">BB", data, position)
        if marker != 0xFF:
            raise ContainerError("damaged JPEG file: a marker is missing")
        if code == 0xFF:  # fill byte
            position += 1
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if code in (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF):
            hw = struct.unpack_from(">HH", data, position + 5)
        elif code == 0xE1 and data[position + 4 : position + 10] == b"Exif\0\0":
            orientation = _read_exif_orientation(data[position + 10 : position + 2 + length])
        elif code == 0xDA:
            break
        position += 2 + length
    if hw is None:
        raise ContainerError("damaged JPEG file: its size is missing")
    # Inside the coded data a byte FF is always followed by 00 or a restart mark, and thumbnails stand before it.
    if is_whole and data.rfind(b"\xff\xd9", position) < 0:
        raise ContainerError(CUT_OFF)
    return Container("JPEG", hw[0], hw[1], orientation)


def _read_bmp(data: bytes, is_whole: bool) -> Container:
    (pixels_at, header_size) = struct.unpack_from("<II", data, 10)
    if header_size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression, num_bytes = 0, 0
    else:
        width, height, _, bits, compression, num_bytes = struct.unpack_from("<iiHHII", data, 18)
        height = abs(height)  # negative: stored from top to bottom
    if compression in (0, 3, 6):
        num_bytes = (width * bits + 31) // 32 * 4 * height
    if is_whole and pixels_at + num_bytes > len(data):
        raise ContainerError(CUT_OFF)
    return Container("BMP", height, width)


def _read_webp(data: bytes, is_whole: bool) -> Container:
    (size,) = struct.unpack_from("<I", data, 4)
    if is_whole and size + 8 > len(data):
        raise ContainerError(CUT_OFF)
    hw: tuple[int, int] | None = None
    orientation = 1
    position = 12
    while position + 8 <= min(len(data), size + 8):
        kind, length = struct.unpack_from("<4sI", data, position)
        start = position + 8
        if hw is None and kind == b"VP8X":
            hw = (
                1 + int.from_bytes(data[start + 7 : start + 10], "little"),
                1 + int.from_bytes(data[start + 4 : start + 7], "little"),
            )
        elif hw is None and kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", data, start + 6)
            hw = (height & 0x3FFF, width & 0x3FFF)
        elif hw is None and kind == b"VP8L":
            (bits,) = struct.unpack_from("<I", data, start + 1)
            hw = (1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF))
        elif kind == b"EXIF":
            orientation = _read_exif_orientation(data[start : start + length].removeprefix(b"Exif\0\0"))
        position = start + length + length % 2
    if hw is None:
        raise ContainerError("damaged WebP file: its size is missing")
    return Container("WebP", hw[0], hw[1], orientation)


_WIDTH, _HEIGHT, _ORIENTATION, _SAMPLES, _EXTRA_SAMPLES = 256, 257, 274, 277, 338
_OFFSETS_AND_COUNTS = ((273, 279), (324, 325))  # of strips and of tiles
_UNASSOCIATED_ALPHA = 2
_TYPE_CODES = {1: "B", 3: "H", 4: "I", 16: "Q"}


def _read_tiff(data: bytes) -> Container:
    tags = {tag: (values, place) for tag, values, place in _read_directory(data)}

    def value(tag: int, default: int) -> int:
        return tags[tag][0][0] if tag in tags and tags[tag][0] else default

    height, width = value(_HEIGHT, 0), value(_WIDTH, 0)
    if not height or not width:
        raise ContainerError("damaged TIFF file: its size is missing")
    if value(_SAMPLES, 1) > 4:
        raise ContainerError(f"a TIFF file of {value(_SAMPLES, 1)} channels; at most 4 can be read")
    for offsets, counts in _OFFSETS_AND_COUNTS:
        if offsets in tags and counts in tags:
            ends = (offset + count for offset, count in zip(tags[offsets][0], tags[counts][0], strict=False))
            if max(ends, default=0) > len(data):
                raise ContainerError(CUT_OFF)
    has_alpha = value(_EXTRA_SAMPLES, 0) == _UNASSOCIATED_ALPHA
    orientation = value(_ORIENTATION, 1)
    return Container(
        "TIFF",
        height,
        width,
        orientation if 1 <= orientation <= 8 else 1,
        alpha_at=tags[_EXTRA_SAMPLES][1] if has_alpha else None,
    )


def _read_directory(data: bytes) -> Iterator[tuple[int, tuple[int, ...], int]]:
    """The entries of the first directory of a TIFF file: tag, whole-number values, their place in the file."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    word, word_size = ("Q", 8) if is_big else ("I", 4)
    (directory,) = struct.unpack_from(order + word, data, 8 if is_big else 4)
    (num_entries,) = struct.unpack_from(order + ("Q" if is_big else "H"), data, directory)
    position = directory + (8 if is_big else 2)
    for _ in range(min(num_entries, 4096)):
        tag, kind, count = struct.unpack_from(order + "HH" + word, data, position)
        place = position + 4 + word_size
        if code := _TYPE_CODES.get(kind):
            size = struct.calcsize(code) * count
            if size > word_size:
                (place,) = struct.unpack_from(order + word, data, place)
            if place + size > len(data):
                raise ContainerError(CUT_OFF)
            yield tag, struct.unpack_from(f"{order}{count}{code}", data, place), place
        position += 4 + word_size + word_size


def _read_exif_orientation(exif: bytes) -> int:
    """The orientation of an EXIF block, 1 to 8; 1 where there is none or the block is damaged."""
    if exif[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    try:
        for tag, values, _ in _read_directory(exif):
            if tag == _ORIENTATION and values and 1 <= values[0] <= 8:
                return values[0]
    except (struct.error, OverflowError, ContainerError):
        pass
    return 1
