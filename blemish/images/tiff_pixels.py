"""The pixels of a TIFF page: blocks are decompressed, then their bytes become samples by the page's own words.

OpenCV's libtiff is used for its decompression alone wherever single samples are stored, because it gives wrong values
for planes, palettes of few bits, white that is zero and more. Fax, JPEG and YCbCr pages are left to it as a whole.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.images import tiff
from blemish.images.codec import decode_bytes
from blemish.images.container import CUT_OFF, MAX_INFLATION, Container, ContainerError, Stored
from blemish.images.jpeg import check_jpeg_strip
from blemish.images.rgb import look_up
from blemish.images.tiff import Page

_BAND_BYTES = 1 << 24
_MAX_SIDE = 1 << 20  # of an image that OpenCV reads
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
_MOST_BYTES = {
    tiff.NONE: 1,
    tiff.LZW: 4096,
    tiff.DEFLATE: MAX_INFLATION,
    tiff.OLD_DEFLATE: MAX_INFLATION,
    tiff.PACKBITS: 64,
}
"""Most bytes that one stored byte can become; LZW has 4,096 codes, each a byte longer than one before."""
_DAMAGED = "damaged TIFF file: pixels are missing or cannot be decompressed"


def check_tiff(data: bytes, container: Container) -> None:
    """Raises ContainerError where blocks are shorter than they must be, as far as that can be told beforehand."""
    page: Page = container.layout
    if page.compression in _MOST_BYTES and not page.is_for_libtiff:
        needed = _rows_of_blocks(page) * page.row_bytes
        if (page.counts * _MOST_BYTES[page.compression] < needed).any():
            raise ContainerError(CUT_OFF)
    elif page.compression == tiff.JPEG:
        for offset, count in zip(page.offsets.tolist(), page.counts.tolist(), strict=True):
            check_jpeg_strip(data[offset : offset + count])


def decode_tiff(data: bytes, container: Container) -> Stored:
    """The pixels of the page: gray, RGB, or RGB with one more channel."""
    page: Page = container.layout
    if page.is_for_libtiff:
        pixels = decode_bytes(_only_page(data, page))
        return Stored(pixels, 255)
    return _colors(_samples(data, _join_strips(page)), page)


# ---- colors


def _colors(samples: NDArray[Any], page: Page) -> Stored:
    """Samples (height, width, channels) as colors, by the photometric interpretation."""
    white = None if page.kind == "f" else (1 << page.bits) - 1
    if page.photometric == tiff.PALETTE:
        return Stored(_palette_colors(samples[..., 0], page), 255)
    if page.photometric == tiff.CMYK:
        return Stored(_unink(samples), white)
    pixels = samples if page.photometric == tiff.RGB else samples[..., 0]
    if page.photometric == tiff.WHITE_IS_ZERO:
        assert white is not None
        pixels = samples.dtype.type(white) - pixels
    if page.kind == "u" and page.bits < 8:  # 1 bit: 0 and 255, as masks expect it
        assert white is not None
        return Stored(np.asarray((pixels.astype(np.uint16) * 255 + white // 2) // white, np.uint8), 255)
    return Stored(pixels, white)


def _palette_colors(indices: NDArray[Any], page: Page) -> NDArray[np.uint8]:
    colors = page.color_map
    assert colors is not None
    # 16 bits for each color; old files that store 8 are told by their small numbers, as libtiff does.
    eight_bit = colors if int(colors.max()) < 256 else colors >> 8
    return look_up(indices, eight_bit.astype(np.uint8).T)


def _unink(samples: NDArray[Any]) -> NDArray[Any]:
    """RGB of inks, as if these were ideal; profiles are not applied."""
    white = np.iinfo(samples.dtype).max
    light = white - samples.astype(np.uint32)
    return np.asarray(light[..., :3] * light[..., 3:4] // white, samples.dtype)


# ---- samples


def _samples(data: bytes, page: Page) -> NDArray[Any]:
    """All samples of a page as (height, width, channels), in their own number type and native byte order."""
    height, width, channels = page.height, page.width, page.samples
    per_block = page.samples_per_block
    result: NDArray[Any] | None = None
    num_down, num_across = page.grid
    for number, block in _blocks(data, page):
        plane, inside = divmod(number, num_down * num_across)
        down, across = divmod(inside, num_across)
        top, left = down * page.block_hw[0], across * page.block_hw[1]
        part = block[: height - top, : width - left]
        if result is None:
            if part.shape == (height, width, channels):
                return part
            result = np.empty((height, width, channels), block.dtype)
        target = result[top : top + part.shape[0], left : left + part.shape[1]]
        target[..., plane : plane + per_block] = part
    assert result is not None
    return result


def _blocks(data: bytes, page: Page) -> Iterator[tuple[int, NDArray[Any]]]:
    """The number of each block and its samples (rows, columns, channels of a block)."""
    for number, raw in _decompressed(data, page):
        rows = np.frombuffer(raw, np.uint8).reshape(-1, page.row_bytes)
        yield number, _to_samples(rows, page)


def _rows_of_blocks(page: Page) -> NDArray[np.int64]:
    """The number of rows that each block holds: the last strip of a plane may hold fewer."""
    num_down, num_across = page.grid
    rows = np.full(num_down, page.block_hw[0], np.int64)
    if not page.is_tiled:
        rows[-1] = page.height - (num_down - 1) * page.block_hw[0]
    return np.tile(np.repeat(rows, num_across), page.num_planes)


def _decompressed(data: bytes, page: Page) -> Iterator[tuple[int, bytes | memoryview]]:
    """The number of each block and its bytes: exactly as many as its rows need."""
    sizes = (_rows_of_blocks(page) * page.row_bytes).tolist()
    places = list(zip(page.offsets.tolist(), page.counts.tolist(), strict=True))

    def stored(number: int) -> bytes | memoryview:
        offset, count = places[number]
        if page.is_bit_reversed:
            return data[offset : offset + count].translate(_REVERSED)
        return memoryview(data)[offset : offset + count]

    if page.compression == tiff.LZW:
        yield from enumerate(_unpack_lzw([stored(number) for number in range(len(sizes))], sizes, page.row_bytes))
        return
    unpack = {tiff.NONE: _take, tiff.PACKBITS: _unpack_runs}.get(page.compression, _inflate)
    for number, size in enumerate(sizes):
        yield number, unpack(stored(number), size)


def _join_strips(page: Page) -> Page:
    """The page with one strip where its strips lie uncompressed one behind the other, as most programs write them."""
    ends = page.offsets + page.counts
    sizes = _rows_of_blocks(page) * page.row_bytes
    is_one_piece = (ends[:-1] == page.offsets[1:]).all() and (sizes[:-1] == page.counts[:-1]).all()
    if page.compression != tiff.NONE or page.is_tiled or page.is_planar or not is_one_piece:
        return page
    offset, count = page.offsets[:1], page.counts.sum(keepdims=True)
    return replace(page, block_hw=(page.height, page.width), offsets=offset, counts=count)


def _take(stored: bytes | memoryview, size: int) -> bytes | memoryview:
    if len(stored) < size:
        raise ContainerError(CUT_OFF)
    return stored[:size]


def _inflate(stored: bytes | memoryview, size: int) -> bytes:
    try:
        unpacked = zlib.decompressobj().decompress(stored, size)
    except zlib.error as error:
        raise ContainerError(_DAMAGED) from error
    if len(unpacked) < size:
        raise ContainerError(_DAMAGED)
    return unpacked


def _unpack_runs(stored: bytes | memoryview, size: int) -> bytes:
    """PackBits: a byte n says that n + 1 bytes follow, or that the next one is repeated 257 - n times."""
    stored = bytes(stored)
    parts: list[bytes] = []
    place, missing = 0, size
    while missing > 0:
        if place + 1 >= len(stored):
            raise ContainerError(_DAMAGED)
        control = stored[place]
        if control < 128:
            part = stored[place + 1 : place + 2 + control]
            if len(part) <= control:
                raise ContainerError(_DAMAGED)
            place += 2 + control
        else:  # 128 says nothing
            part = stored[place + 1 : place + 2] * (257 - control) if control > 128 else b""
            place += 2 if control > 128 else 1
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)[:size]


def _unpack_lzw(stored: Sequence[bytes | memoryview], sizes: Sequence[int], row_bytes: int) -> Iterator[bytes]:
    """The bytes of LZW blocks. Neighbors of one size go through the decoder together."""
    start = 0
    while start < len(stored):
        size = sizes[start]
        most = start + max(1, _BAND_BYTES // size)
        end = start + 1
        while end < min(len(stored), most) and sizes[end] == size:
            end += 1
        unpacked = _unpack_lzw_group(stored[start:end], size, row_bytes)
        for place in range(0, len(unpacked), size):
            yield unpacked[place : place + size]
        start = end


def _unpack_lzw_group(stored: Sequence[bytes | memoryview], size: int, row_bytes: int) -> bytes:
    """The bytes of LZW blocks of one size, read as gray images.

    As 16 bits, since only then does OpenCV say when bytes are missing; an odd number of bytes is read as 8 bits, and
    all but its last row or byte once more as 16 bits.
    """
    rows = size // row_bytes
    if size % 2 == 0:
        width, height = (row_bytes // 2, rows) if row_bytes % 2 == 0 else (row_bytes, rows // 2)
        return _decode_gray(stored, height, width, 16)
    if rows > 1:
        _decode_gray(stored, rows // 2, row_bytes, 16)
    elif size > 1:
        _decode_gray(stored, 1, size // 2, 16)
    return _decode_gray(stored, rows, row_bytes, 8)


def _decode_gray(stored: Sequence[bytes | memoryview], block_height: int, width: int, bits: int) -> bytes:
    """The unpacked bytes of LZW strips, as a TIFF file of one gray page that holds them."""
    if width > _MAX_SIDE:
        raise ContainerError(f"a TIFF file with LZW compression and rows of more than {_MAX_SIDE:,} bytes")
    height = block_height * len(stored)
    head = 8
    counts = [len(block) for block in stored]
    offsets = [head + sum(counts[:number]) for number in range(len(counts))]
    tags = {
        tiff.WIDTH: [width],
        tiff.HEIGHT: [height],
        tiff.BITS: [bits],
        tiff.COMPRESSION: [tiff.LZW],
        tiff.PHOTOMETRIC: [tiff.BLACK_IS_ZERO],
        tiff.STRIP_OFFSETS: offsets,
        tiff.SAMPLES: [1],
        tiff.ROWS_PER_STRIP: [block_height],
        tiff.STRIP_COUNTS: counts,
    }
    order = "<" if sys.byteorder == "little" else ">"
    entries = {tag: (4, len(values), struct.pack(f"{order}{len(values)}I", *values)) for tag, values in tags.items()}
    pixels = decode_bytes(_write_tiff(b"".join(stored), entries, order, is_big=False))
    if pixels.shape != (height, width) or pixels.dtype.itemsize * 8 != bits:
        raise ContainerError(_DAMAGED)
    return pixels.tobytes()


def _only_page(data: bytes, page: Page) -> bytes:
    """The file with one directory, which holds what libtiff needs of the page's and nothing else.

    Channels that are no color are not named as alpha: with it the decoder would blend the colors with black.
    """
    left_out = {tiff.SUBFILE, tiff.OLD_SUBFILE, tiff.ORIENTATION, tiff.EXTRA_SAMPLES, tiff.SUB_DIRECTORIES}
    entries = {
        tag: (entry.kind, entry.count, data[entry.place : entry.place + entry.num_bytes])
        for tag, entry in page.entries.items()
        if tag not in left_out
    }
    return _write_tiff(data[16 if page.is_big else 8 :], entries, page.order, is_big=page.is_big)


def _write_tiff(content: bytes, entries: Mapping[int, tuple[int, int, bytes]], order: str, *, is_big: bool) -> bytes:
    """A TIFF file of a head, the content right behind it, and one directory: tag -> (type, count, bytes)."""
    word, word_size = ("Q", 8) if is_big else ("I", 4)
    mark = b"II" if order == "<" else b"MM"
    head_bytes = 16 if is_big else 8
    pad = bytes(-(head_bytes + len(content)) % 8)
    table, values = [], []
    directory = head_bytes + len(content) + len(pad)
    values_at = directory + (8 if is_big else 2) + len(entries) * (4 + 2 * word_size) + word_size
    for tag in sorted(entries):
        kind, count, raw = entries[tag]
        if len(raw) > word_size:
            values.append(raw + bytes(-len(raw) % 8))
            raw, values_at = struct.pack(order + word, values_at), values_at + len(values[-1])
        table.append(struct.pack(order + "HH" + word, tag, kind, count) + raw.ljust(word_size, b"\0"))
    num_entries = struct.pack(order + ("Q" if is_big else "H"), len(entries))
    head = struct.pack(order + ("HHHQ" if is_big else "HI"), *((43, 8, 0) if is_big else (42,)), directory)
    return b"".join([mark, head, content, pad, num_entries, *table, bytes(word_size), *values])


# ---- from bytes to numbers


def _to_samples(rows: NDArray[np.uint8], page: Page) -> NDArray[Any]:
    """Rows of bytes of one block as samples (rows, columns, channels), in native byte order."""
    num_rows, columns, channels = len(rows), page.block_hw[1], page.samples_per_block
    if page.bits not in (8, 16, 32, 64):
        return _unpack_bits(rows, page.bits, columns * channels).reshape(num_rows, columns, channels)
    item = page.bits // 8
    if page.predictor == 3:
        joined = np.add.accumulate(rows.reshape(num_rows, -1, channels), axis=1, dtype=np.uint8)
        planes = joined.reshape(num_rows, item, columns * channels)
        values = np.ascontiguousarray(planes.transpose(0, 2, 1)).view(f">f{item}")
        return _native(values).reshape(num_rows, columns, channels)
    if page.predictor == 2:
        steps = _native(rows.view(f"{page.order}u{item}")).reshape(num_rows, columns, channels)
        values = np.add.accumulate(steps, axis=1, dtype=steps.dtype)
        return values.view(f"{page.kind}{item}")
    return _native(rows.view(f"{page.order}{page.kind}{item}")).reshape(num_rows, columns, channels)


def _native(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _unpack_bits(rows: NDArray[np.uint8], bits: int, num_values: int) -> NDArray[Any]:
    """Values of `bits` bits each, the highest first, without gaps within a row."""
    kind = np.uint8 if bits < 8 else np.uint16
    values = np.empty((len(rows), num_values), kind)
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(kind)
    step = max(1, _BAND_BYTES // (16 * rows.shape[1]))
    for top in range(0, len(rows), step):
        single = np.unpackbits(rows[top : top + step], axis=1, count=num_values * bits)
        np.matmul(single.reshape(-1, num_values, bits).astype(kind), weights, out=values[top : top + step])
    return values
