"""WebP: the chunks are followed to the end of the file; OpenCV decodes the one still image."""

from __future__ import annotations

from blemish.images.codec import decode_bytes
from blemish.images.container import CUT_OFF, Container, ContainerError, Source, Stored
from blemish.images.exif import read_orientation

MAX_CHUNKS = 10_000
"""Most chunks of a file; a still image has fewer than ten."""
MAX_EXIF_BYTES = 1 << 20

_ANIMATION, _ALPHA = 0x02, 0x10


def read_webp(source: Source) -> Container:
    """The facts of a WebP file, from its chunks."""
    (size,) = source.unpack("<I", 4)
    end = size + 8
    if end > source.size:
        raise ContainerError(CUT_OFF)
    canvas: tuple[int, int] | None = None
    image: tuple[int, int] | None = None
    orientation: int | None = None
    has_alpha, is_lossy, num_chunks = False, False, 0
    position = 12
    while position + 8 <= end:
        num_chunks += 1
        if num_chunks > MAX_CHUNKS:
            raise ContainerError(f"a WebP file of more than {MAX_CHUNKS:,} chunks")
        kind, length = source.unpack("<4sI", position)
        start = position + 8
        if start + length > end:
            raise ContainerError(CUT_OFF)
        if kind == b"VP8X" and canvas is None:
            flags, *sides = source.unpack("<B3x6B", start)
            if flags & _ANIMATION:
                raise ContainerError("a WebP file with an animation")
            canvas = (
                1 + int.from_bytes(bytes(sides[3:]), "little"),
                1 + int.from_bytes(bytes(sides[:3]), "little"),
            )
            has_alpha = has_alpha or bool(flags & _ALPHA)
        elif kind == b"VP8 " and image is None:
            mark, width, height = source.unpack("<3sHH", start + 3)
            if mark != b"\x9d\x01\x2a":
                raise ContainerError("damaged WebP file: its picture does not begin with a key frame")
            image, is_lossy = (height & 0x3FFF, width & 0x3FFF), True
        elif kind == b"VP8L" and image is None:
            (mark, bits) = source.unpack("<BI", start)
            if mark != 0x2F:
                raise ContainerError("damaged WebP file: its picture does not begin with its mark")
            image = (1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF))
            has_alpha = has_alpha or bool(bits >> 28 & 1)
        elif kind == b"EXIF" and orientation is None:
            orientation = read_orientation(source.take(start, min(length, MAX_EXIF_BYTES)))
        position = start + length + length % 2
    if image is None or not all(image):
        raise ContainerError("damaged WebP file: its size is missing")
    if canvas is not None and canvas != image:
        raise ContainerError("damaged WebP file: its header and its picture differ in size")
    return Container("WebP", image[0], image[1], orientation or 1, has_alpha=has_alpha, is_lossy=is_lossy)


def check_webp(data: bytes, container: Container) -> None:
    """Nothing is left to check: the places of all chunks lie within the file, and the format has no checksums."""


def decode_webp(data: bytes, container: Container) -> Stored:
    """The pixels as OpenCV's libwebp decodes them."""
    return Stored(decode_bytes(data), 255)
