"""WebP: the chunks are followed to the end of the file; OpenCV decodes the image, or the first one of an animation."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from blemish.images.codec import decode_bytes
from blemish.images.container import CUT_OFF, Container, ContainerError, Source, Stored
from blemish.images.exif import read_orientation

MAX_CHUNKS = 100_000
"""Most chunks of a file; a still image has fewer than ten, an animation one for each image."""
MAX_EXIF_BYTES = 1 << 20

_ANIMATION, _ALPHA = 0x02, 0x10
_FRAME_HEADER = 16


@dataclass(frozen=True)
class WebpLayout:
    """`frame` is the place of the first image's chunk in an animation, begin and end; None for a still image."""

    frame: tuple[int, int] | None


@dataclass(frozen=True)
class _Picture:
    """The chunk that holds coded pixels: `begin` and `end` of it, head included."""

    hw: tuple[int, int]
    has_alpha: bool
    is_lossy: bool
    begin: int
    end: int


def read_webp(source: Source) -> Container:
    """The facts of a WebP file, from its chunks."""
    (size,) = source.unpack("<I", 4)
    end = size + 8
    canvas: tuple[int, int] | None = None
    picture: _Picture | None = None
    orientation: int | None = None
    is_animated, has_alpha, num_frames = False, False, 0
    for kind, start, length in _chunks(source, 12, end):
        if kind == b"VP8X" and canvas is None:
            (flags,) = source.unpack("<B", start)
            canvas = _read_hw(source, start + 4)
            is_animated, has_alpha = bool(flags & _ANIMATION), bool(flags & _ALPHA)
        elif kind in (b"VP8 ", b"VP8L") and picture is None and not is_animated:
            picture = _read_picture(source, kind, start, length)
        elif kind == b"ANMF":
            num_frames += 1
            if num_frames == 1:
                picture = _read_frame(source, start, length, canvas)
        elif kind == b"EXIF" and orientation is None:
            orientation = read_orientation(source.take(start, min(length, MAX_EXIF_BYTES)))
    if picture is None:
        raise ContainerError("damaged WebP file: its picture is missing")
    if canvas is not None and canvas != picture.hw:
        raise ContainerError("damaged WebP file: its header and its picture differ in size")
    return Container(
        "WebP",
        picture.hw[0],
        picture.hw[1],
        orientation or 1,
        num_pages=max(1, num_frames),
        has_alpha=has_alpha or picture.has_alpha,
        is_lossy=picture.is_lossy,
        layout=WebpLayout((picture.begin, picture.end) if num_frames else None),
    )


def _chunks(source: Source, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, place of the content and its length of each chunk up to `end`."""
    if end > source.size:
        raise ContainerError(CUT_OFF)
    for _ in range(MAX_CHUNKS):
        if position + 8 > end:
            return
        kind, length = source.unpack("<4sI", position)
        if position + 8 + length > end:
            raise ContainerError(CUT_OFF)
        yield kind, position + 8, length
        position += 8 + length + length % 2
    raise ContainerError(f"a WebP file of more than {MAX_CHUNKS:,} chunks")


def _read_hw(source: Source, place: int) -> tuple[int, int]:
    """Height and width from two numbers of three bytes, the width first, each less by one."""
    sides = source.take(place, 6)
    return 1 + int.from_bytes(sides[3:], "little"), 1 + int.from_bytes(sides[:3], "little")


def _read_picture(source: Source, kind: bytes, start: int, length: int) -> _Picture:
    begin, end = start - 8, start + length + length % 2
    if kind == b"VP8 ":
        mark, width, height = source.unpack("<3sHH", start + 3)
        hw, has_alpha, is_right = (height & 0x3FFF, width & 0x3FFF), False, mark == b"\x9d\x01\x2a"
    else:
        mark, bits = source.unpack("<BI", start)
        hw, has_alpha, is_right = (1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)), bool(bits >> 28 & 1), mark == 0x2F
    if not is_right or not all(hw):
        raise ContainerError("damaged WebP file: its picture does not begin as it must")
    return _Picture(hw, has_alpha, kind == b"VP8 ", begin, end)


def _read_frame(source: Source, start: int, length: int, canvas: tuple[int, int] | None) -> _Picture:
    """The first image of an animation, which must fill the canvas."""
    if source.take(start, 6) != bytes(6) or _read_hw(source, start + 6) != canvas:
        raise ContainerError("a WebP animation whose first image does not fill it")
    for kind, place, num_bytes in _chunks(source, start + _FRAME_HEADER, start + length):
        if kind in (b"VP8 ", b"VP8L"):
            return _read_picture(source, kind, place, num_bytes)
    raise ContainerError("damaged WebP file: its picture is missing")


def check_webp(data: bytes, container: Container) -> None:
    """Nothing is left to check: all chunks lie within the file, and the format has no checksums."""


def decode_webp(data: bytes, container: Container, *, with_alpha: bool = False) -> Stored:
    """The pixels as OpenCV's libwebp decodes them; of an animation those of its first image."""
    layout: WebpLayout = container.layout
    if layout.frame is not None:
        chunk = data[layout.frame[0] : layout.frame[1]]
        data = b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
    return Stored(decode_bytes(data, with_alpha=with_alpha), 255)
