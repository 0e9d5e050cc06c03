"""Image files as a header may describe them: written byte by byte, so that no library has a say in what they mean."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

HW = (40, 56)
Array = NDArray[Any]


def picture(height: int = HW[0], width: int = HW[1], channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth color blobs, no symmetry: a turned or mirrored copy differs clearly."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, channels), np.uint8)
    pixels = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return pixels.reshape(height, width, channels)


def values(bits: int, channels: int, kind: str = "u") -> Array:
    """The blobs as numbers of so many bits: whole ones up to their largest, floating point in 0 to 1."""
    share = picture(channels=channels) / 255
    if kind == "f":
        return np.asarray(share, f"f{bits // 8}")
    return np.asarray(np.rint(share * (2**bits - 1)), np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32)


def eight_bit(numbers: Array, bits: int, *, is_white_zero: bool = False) -> NDArray[np.uint8]:
    """What `values` must become: 0 to 255 of the whole range, rounded; gray repeated, more than three channels cut."""
    share = numbers.astype(np.float64) if numbers.dtype.kind == "f" else numbers / (2**bits - 1)
    rounded = np.rint((1 - share if is_white_zero else share) * 255).astype(np.uint8)
    return np.repeat(rounded, 3, axis=2) if rounded.shape[2] == 1 else rounded[..., :3]


def saved_by_pillow(pixels: Array | PIL.Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, PIL.Image.Image) else PIL.Image.fromarray(pixels)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# ---- TIFF

REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
Tags = dict[int, tuple[int, Sequence[int]]]
_LAYOUTS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 7: "B", 13: "I", 16: "Q"}


def lzw(data: bytes) -> bytes:
    """LZW as Pillow's libtiff writes it, taken out of a file of one gray row."""
    file = saved_by_pillow(PIL.Image.frombytes("L", (len(data), 1), data), "TIFF", compression="tiff_lzw")
    tags: Any = PIL.Image.open(io.BytesIO(file))
    (offset,), (count,) = tags.tag_v2[273], tags.tag_v2[279]
    return file[offset : offset + count]


def packbits(data: bytes) -> bytes:
    """Runs of two and more where the data repeats itself, the rest literally."""
    out = bytearray()
    place = 0
    while place < len(data):
        run = 1
        while run < 128 and data[place + run : place + run + 1] == data[place : place + 1]:
            run += 1
        out += bytes([257 - run if run > 1 else 0, data[place]])
        place += run
    return bytes(out)


COMPRESS = {1: bytes, 5: lzw, 8: zlib.compress, 32946: zlib.compress, 32773: packbits}


def tiff_page(
    numbers: Array,
    bits: int,
    *,
    photometric: int | None = None,
    planar: int = 1,
    compression: int = 1,
    predictor: int = 1,
    order: str = "<",
    tile_hw: tuple[int, int] | None = None,
    rows_per_strip: int | None = None,
    is_bit_reversed: bool = False,
    tags: Tags | None = None,
) -> tuple[Tags, list[bytes]]:
    """The tags and blocks of one page of numbers (height, width, channels); `tags` are added or put in place."""
    height, width, channels = numbers.shape
    planes = [numbers[..., place : place + 1] for place in range(channels)] if planar == 2 else [numbers]
    rows = rows_per_strip or height
    blocks = []
    for plane in planes:
        if tile_hw:
            below, right = (-side % tile for side, tile in zip((height, width), tile_hw, strict=True))
            padded = np.pad(plane, ((0, below), (0, right), (0, 0)))
            parts = [
                padded[top : top + tile_hw[0], left : left + tile_hw[1]]
                for top in range(0, padded.shape[0], tile_hw[0])
                for left in range(0, padded.shape[1], tile_hw[1])
            ]
        else:
            parts = [plane[top : top + rows] for top in range(0, height, rows)]
        for part in parts:
            stored = COMPRESS[compression](_tiff_bytes(part, bits, predictor, order))
            blocks.append(stored.translate(REVERSED) if is_bit_reversed else stored)
    kind = {"u": 1, "i": 2, "f": 3}[numbers.dtype.kind]
    made: Tags = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits] * channels),
        259: (3, [compression]),
        262: (3, [photometric if photometric is not None else 2 if channels >= 3 else 1]),
        277: (3, [channels]),
        284: (3, [planar]),
        339: (3, [kind] * channels),
        **({322: (4, [tile_hw[1]]), 323: (4, [tile_hw[0]])} if tile_hw else {278: (4, [rows])}),
        **({317: (3, [predictor])} if predictor != 1 else {}),
        **({266: (3, [2])} if is_bit_reversed else {}),
        **(tags or {}),
    }
    return made, blocks


def tiff(numbers: Array, bits: int, *, order: str = "<", is_big: bool = False, **how: Any) -> bytes:
    """A TIFF file of one page; see `tiff_page`."""
    return tiff_file([tiff_page(numbers, bits, order=order, **how)], order=order, is_big=is_big)


def _tiff_bytes(part: Array, bits: int, predictor: int, order: str) -> bytes:
    rows = part.reshape(len(part), -1)
    stride = part.shape[2]
    if predictor == 2:
        rows = rows.copy()
        rows[:, stride:] -= part.reshape(rows.shape)[:, :-stride]
    if predictor == 3:
        parts = []
        for row in rows:
            planes = row.astype(row.dtype.newbyteorder(">")).view(np.uint8).reshape(-1, row.itemsize).T.ravel()
            steps = planes.copy()
            steps[stride:] -= planes[:-stride]
            parts.append(steps.tobytes())
        return b"".join(parts)
    if bits in (8, 16, 32, 64):
        return bytes(rows.astype(rows.dtype.newbyteorder(order)).tobytes())  # type: ignore[arg-type]
    single = (rows[..., None].astype(np.uint64) >> np.arange(bits - 1, -1, -1, dtype=np.uint64)) & np.uint64(1)
    return np.packbits(single.astype(np.uint8).reshape(len(rows), -1), axis=1).tobytes()


def tiff_file(pages: Sequence[tuple[Tags, Sequence[bytes]]], *, order: str = "<", is_big: bool = False) -> bytes:
    """A TIFF or BigTIFF file of pages, each tags (type, values) and blocks; the places are filled in."""
    word = "Q" if is_big else "I"
    size = struct.calcsize(word)
    head = struct.pack(order + ("HHHQ" if is_big else "HI"), *((43, 8, 0) if is_big else (42,)), 0)
    out = bytearray((b"II" if order == "<" else b"MM") + head)
    link = len(out) - size
    for given, blocks in pages:
        tags = dict(given)
        offsets = []
        for block in blocks:
            out += bytes(len(out) % 2)
            offsets.append(len(out))
            out += block
        place, count = (324, 325) if 322 in tags else (273, 279)
        tags.setdefault(place, (16 if is_big else 4, offsets))
        tags.setdefault(count, (16 if is_big else 4, [len(block) for block in blocks]))
        table = []
        for tag in sorted(tags):
            kind, numbers = tags[tag]
            raw = struct.pack(f"{order}{len(numbers)}{_LAYOUTS[kind]}", *numbers)
            if len(raw) > size:
                out += bytes(len(out) % 2)
                at = len(out)
                out += raw
                raw = struct.pack(order + word, at)
            count_of = len(numbers) // (2 if kind == 5 else 1)
            table.append(struct.pack(order + "HH" + word, tag, kind, count_of) + raw.ljust(size, b"\0"))
        out += bytes(len(out) % 2)
        struct.pack_into(order + word, out, link, len(out))
        out += struct.pack(order + ("Q" if is_big else "H"), len(table)) + b"".join(table)
        link = len(out)
        out += bytes(size)
    return bytes(out)


# ---- BMP


def bmp(
    rows: Sequence[bytes] | bytes,
    bits: int,
    *,
    header_size: int = 40,
    compression: int = 0,
    masks: Sequence[int] = (),
    palette: Array | None = None,
    is_top_down: bool = False,
    hw: tuple[int, int] = HW,
) -> bytes:
    """A BMP file; `rows` are the bytes of each row from the top, or the coded runs; `masks` red, green, blue, alpha."""
    height, width = hw
    if not isinstance(rows, bytes):
        padded = [row + bytes(-len(row) % 4) for row in rows]
        rows = b"".join(padded if is_top_down else padded[::-1])
    colors = b""
    if palette is not None:
        entries = palette[:, ::-1]
        if header_size != 12:
            entries = np.pad(entries, ((0, 0), (0, 1)))
        colors = entries.astype(np.uint8).tobytes()
    fields = b"".join(struct.pack("<I", mask) for mask in masks)
    behind = fields if header_size == 40 else b""
    pixels_at = 14 + header_size + len(behind) + len(colors)
    if header_size == 12:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        signed = -height if is_top_down else height
        num_colors = 0 if palette is None else len(palette)
        header = struct.pack(
            "<IiiHHIIiiII", header_size, width, signed, 1, bits, compression, len(rows), 0, 0, num_colors, 0
        )
        if header_size > 40:
            header = (header + fields).ljust(header_size, b"\0")[:header_size]
    return b"BM" + struct.pack("<IHHI", pixels_at + len(rows), 0, 0, pixels_at) + header + behind + colors + rows


# ---- PNG


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    numbers: Array,
    bits: int,
    color: int,
    *,
    is_interlaced: bool = False,
    before: Mapping[bytes, bytes] | None = None,
    behind: Mapping[bytes, bytes] | None = None,
) -> bytes:
    """A PNG file of numbers (height, width, channels) with chunks before and behind its pixels."""
    height, width = numbers.shape[:2]
    passes = [(0, 0, 1, 1)]
    if is_interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    raw = b""
    for top, left, down, across in passes:
        part = numbers[top::down, left::across]
        if part.size:
            packed = _tiff_bytes(part, bits, 1, ">")
            row_bytes = len(packed) // len(part)
            raw += b"".join(b"\0" + packed[at : at + row_bytes] for at in range(0, len(packed), row_bytes))
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, int(is_interlaced))
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", header),
            *(png_chunk(kind, body) for kind, body in (before or {}).items()),
            png_chunk(b"IDAT", zlib.compress(raw)),
            *(png_chunk(kind, body) for kind, body in (behind or {}).items()),
            png_chunk(b"IEND", b""),
        ]
    )


# ---- EXIF


def exif(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    """An EXIF block that notes an orientation behind another tag."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(order + ("H" if kind == 3 else "I"), orientation).ljust(4, b"\0")
    entries = struct.pack(order + "HHII", 256, 4, 1, 7) + struct.pack(order + "HHI", 274, kind, 1) + value
    return mark + struct.pack(order + "IH", 8, 2) + entries + bytes(4)


def webp_with(data: bytes, chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The WebP file with chunks (kind, content) at its end."""
    body = data[8:] + b"".join(
        kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2) for kind, content in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body
