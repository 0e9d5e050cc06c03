"""PNG: the chunks that decide are read and checked; only these reach the decoder."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from blemish.images.codec import decode_bytes
from blemish.images.container import CUT_OFF, MAX_INFLATION, Container, ContainerError, Source, Stored
from blemish.images.exif import read_orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 1_000_000
"""Most chunks of a file; 2 GB in the usual pieces of 8 kB are a quarter of that."""
MAX_EXIF_BYTES = 1 << 20
"""An EXIF block that is larger is not looked at: its first entries lie at its beginning."""

_BIT_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PALETTE = 3
_WITH_ALPHA = (4, 6)
_NEEDED = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})


@dataclass(frozen=True)
class PngLayout:
    """Where the chunks that the decoder needs stand: (begin, end); and whether these are the whole file.

    `num_row_bytes` are those of one row, `num_packed` those of all pixels, compressed.
    """

    chunks: tuple[tuple[int, int], ...]
    are_all: bool
    bits: int
    num_row_bytes: int
    num_packed: int


def read_png(source: Source) -> Container:
    """The facts of a PNG file, from its header and the places of its chunks; their content is not checked."""
    length, kind = source.unpack(">I4s", 8)
    if kind != b"IHDR" or length != 13:
        raise ContainerError("damaged PNG file: it does not begin with its header")
    width, height, bits, color, compression, filtering, interlacing = source.unpack(">IIBBBBB", 16)
    if not width or not height:
        raise ContainerError("damaged PNG file: its size is missing")
    if bits not in _BIT_DEPTHS.get(color, ()) or compression or filtering or interlacing > 1:
        raise ContainerError(f"damaged PNG file: color type {color} with {bits} bits")
    orientation: int | None = None
    has_alpha, num_images = color in _WITH_ALPHA, 1
    chunks: list[tuple[int, int]] = []
    kinds: set[bytes] = set()
    num_chunks, num_packed = 0, 0
    position = 8
    for num_chunks in range(1, MAX_CHUNKS + 1):  # noqa: B007 (read behind the loop)
        length, kind = source.unpack(">I4s", position)
        end = position + 12 + length
        if end > source.size:
            raise ContainerError(CUT_OFF)
        if kind == b"eXIf" and orientation is None:
            orientation = read_orientation(source.take(position + 8, min(length, MAX_EXIF_BYTES)))
        has_alpha = has_alpha or kind == b"tRNS"
        if kind == b"acTL" and length == 8:
            (num_images,) = source.unpack(">I", position + 8)
        if kind in _NEEDED:
            chunks.append((position, end))
        elif not kind[0] & 0x20:  # a critical chunk that no reader may pass over
            raise ContainerError(f"PNG with a chunk of the unknown kind {kind.decode('latin-1')!a}")
        kinds.add(kind)
        num_packed += length if kind == b"IDAT" else 0
        position = end
        if kind == b"IEND":
            break
    else:
        raise ContainerError(f"a PNG file of more than {MAX_CHUNKS:,} chunks")
    if b"IDAT" not in kinds or (color == _PALETTE and b"PLTE" not in kinds):
        raise ContainerError("damaged PNG file: its pixels or its palette are missing")
    num_row_bytes = 1 + (width * _CHANNELS[color] * bits + 7) // 8
    return Container(
        "PNG",
        height,
        width,
        orientation or 1,
        num_pages=max(1, num_images),
        bits=bits,
        has_alpha=has_alpha,
        layout=PngLayout(tuple(chunks), len(chunks) == num_chunks, bits, num_row_bytes, num_packed),
    )


def check_png(data: bytes, container: Container) -> None:
    """Raises ContainerError where the checksum of a chunk is wrong, or where there are too few bytes for the pixels."""
    layout: PngLayout = container.layout
    if layout.num_packed * MAX_INFLATION < layout.num_row_bytes * container.height:
        raise ContainerError("damaged PNG file: pixels are missing")
    view = memoryview(data)
    position = 8
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        if zlib.crc32(view[position + 4 : position + 8 + length]) != checksum:
            raise ContainerError("damaged PNG file: a checksum is wrong")
        position += 12 + length


def decode_png(data: bytes, container: Container, *, with_alpha: bool = False) -> Stored:
    """The pixels, gray or RGB; with transparency, also that of palettes and single colors, as RGB with alpha."""
    layout: PngLayout = container.layout
    if not layout.are_all:  # texts, profiles and animations cost memory and change nothing
        view = memoryview(data)
        data = b"".join([SIGNATURE, *(view[begin:end] for begin, end in layout.chunks)])
    return Stored(decode_bytes(data, with_alpha=with_alpha), 65535 if layout.bits == 16 else 255)
