"""BMP: read whole, header and pixels, since decoders disagree about where the colors of a pixel stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blemish.images.container import CUT_OFF, Container, ContainerError, Source, Stored
from blemish.images.rgb import look_up

_HEADER_SIZES = (12, 40, 52, 56, 108, 124)
_FILE_HEADER = 14
_PLAIN, _RUNS_8, _RUNS_4, _BIT_FIELDS, _ALPHA_BIT_FIELDS = 0, 1, 2, 3, 6
_REFUSED = {4: "a JPEG image", 5: "a PNG image"}
_BITS = {
    _PLAIN: (1, 4, 8, 16, 24, 32),
    _RUNS_8: (8,),
    _RUNS_4: (4,),
    _BIT_FIELDS: (16, 32),
    _ALPHA_BIT_FIELDS: (16, 32),
}
_MASKS_OF_16_BITS = (0x7C00, 0x03E0, 0x001F)
_MASKS_OF_32_BITS = (0xFF0000, 0x00FF00, 0x0000FF)
_PIXELS_PER_BYTE = 128
"""Two bytes of run-length coding give 255 pixels at most."""


@dataclass(frozen=True)
class BmpLayout:
    """Where and how pixels are stored; `masks` tell the bits of red, green and blue, `palette` the colors (n, 3)."""

    pixels_at: int
    bits: int
    is_top_down: bool
    runs: bool
    masks: tuple[int, int, int]
    palette: NDArray[np.uint8] | None


def read_bmp(source: Source) -> Container:
    """The facts of a BMP file, with its palette and the masks of its bit fields."""
    pixels_at, header_size = source.unpack("<II", 10)
    if header_size not in _HEADER_SIZES:
        raise ContainerError(f"a BMP file with a header of {header_size} bytes")
    compression, num_colors = _PLAIN, 0
    if header_size == 12:
        width, height, _, bits = source.unpack("<HHHH", 18)
    else:
        width, height, _, bits, compression, _, _, _, num_colors = source.unpack("<iiHHIIiiI", 18)
    if width <= 0 or height == 0:
        raise ContainerError("damaged BMP file: its size is missing")
    if compression not in _BITS:
        what = _REFUSED.get(compression, f"pixels of the kind {compression}")
        raise ContainerError(f"a BMP file that holds {what}")
    if bits not in _BITS[compression]:
        raise ContainerError(f"a BMP file with {bits} bits for each pixel, stored in the kind {compression}")
    if compression in (_RUNS_4, _RUNS_8) and height < 0:
        raise ContainerError("a BMP file with runs of pixels from top to bottom, which the format does not allow")
    masks, alpha = _read_masks(source, header_size, compression, bits)
    palette = _read_palette(source, header_size, bits, num_colors, pixels_at) if bits <= 8 else None
    return Container(
        "BMP",
        abs(height),
        width,
        has_alpha=alpha != 0,
        layout=BmpLayout(pixels_at, bits, height < 0, compression in (_RUNS_4, _RUNS_8), masks, palette),
    )


def _read_masks(source: Source, header_size: int, compression: int, bits: int) -> tuple[tuple[int, int, int], int]:
    """The bits of red, green and blue, and those of alpha (0: none)."""
    if compression not in (_BIT_FIELDS, _ALPHA_BIT_FIELDS):
        return (_MASKS_OF_16_BITS if bits == 16 else _MASKS_OF_32_BITS), 0
    place = _FILE_HEADER + 40  # behind the header of 40 bytes, and at the same place inside the longer ones
    red, green, blue = source.unpack("<III", place)
    has_alpha = header_size >= 56 or compression == _ALPHA_BIT_FIELDS
    alpha = source.unpack("<I", place + 12)[0] if has_alpha else 0
    together = 0
    for mask in (red, green, blue, alpha):
        low = mask & -mask
        if mask >> bits or mask & together or (mask + low) & mask or not red * green * blue:
            raise ContainerError(
                f"damaged BMP file: its masks {red:08x}, {green:08x}, {blue:08x} do not share out {bits} bits"
            )
        together |= mask
    return (red, green, blue), alpha


def _read_palette(source: Source, header_size: int, bits: int, num_colors: int, pixels_at: int) -> NDArray[np.uint8]:
    size = 3 if header_size == 12 else 4
    place = _FILE_HEADER + header_size
    num_colors = min(num_colors or 1 << bits, 1 << bits, max(0, pixels_at - place) // size)
    colors = np.frombuffer(source.take(place, num_colors * size), np.uint8).reshape(num_colors, size)
    return np.ascontiguousarray(colors[:, 2::-1])  # stored blue, green, red


def check_bmp(data: bytes, container: Container) -> None:
    """Raises ContainerError where the file is shorter than its pixels."""
    layout: BmpLayout = container.layout
    num_bytes = len(data) - layout.pixels_at
    needed = _row_bytes(container.width, layout.bits) * container.height
    if layout.runs:
        needed = container.width * container.height // _PIXELS_PER_BYTE
    if layout.pixels_at < _FILE_HEADER or num_bytes < needed:
        raise ContainerError(CUT_OFF)


def _row_bytes(width: int, bits: int) -> int:
    return (width * bits + 31) // 32 * 4


def decode_bmp(data: bytes, container: Container) -> Stored:
    """The pixels as RGB; alpha is left out."""
    layout: BmpLayout = container.layout
    height, width = container.height, container.width
    if layout.runs:
        indices = _unroll(data, layout, height, width)
        return Stored(_look_up(indices, layout.palette), 255)
    row_bytes = _row_bytes(width, layout.bits)
    rows = np.frombuffer(data, np.uint8, row_bytes * height, layout.pixels_at).reshape(height, row_bytes)
    if not layout.is_top_down:
        rows = rows[::-1]
    if layout.bits <= 8:
        return Stored(_look_up(_indices(rows, width, layout.bits), layout.palette), 255)
    if layout.bits == 24:
        return Stored(np.ascontiguousarray(rows[:, : 3 * width].reshape(height, width, 3)[..., ::-1]), 255)
    pixels = np.empty((height, width, 3), np.uint8)
    if layout.bits == 32 and all(mask in (0xFF, 0xFF00, 0xFF0000, 0xFF000000) for mask in layout.masks):
        values = rows.reshape(height, width, 4)
        for channel, mask in enumerate(layout.masks):
            pixels[..., channel] = values[..., (mask.bit_length() - 1) // 8]
        return Stored(pixels, 255)
    values = rows[:, : width * layout.bits // 8].copy().view("<u2" if layout.bits == 16 else "<u4")
    for channel, mask in enumerate(layout.masks):
        pixels[..., channel] = _scale(values, mask)
    return Stored(pixels, 255)


def _scale(values: NDArray[np.unsignedinteger], mask: int) -> NDArray[np.uint8]:
    """The part of each value under the mask, from 0 to 255."""
    shift = (mask & -mask).bit_length() - 1
    largest = mask >> shift
    part = ((values & values.dtype.type(mask)) >> values.dtype.type(shift)).astype(np.float64)
    return np.asarray(np.rint(part * (255 / largest)), np.uint8)


def _indices(rows: NDArray[np.uint8], width: int, bits: int) -> NDArray[np.uint8]:
    """The palette's index of each pixel; the first one stands in the highest bits."""
    if bits == 8:
        return rows[:, :width]
    if bits == 1:
        return np.unpackbits(rows, axis=1, count=width)
    return np.stack([rows >> 4, rows & 15], axis=2).reshape(len(rows), -1)[:, :width]


def _look_up(indices: NDArray[np.uint8], palette: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    if palette is None or int(indices.max()) >= len(palette):
        raise ContainerError("damaged BMP file: a pixel has a color that is not in its palette")
    return look_up(indices, palette)


def _unroll(data: bytes, layout: BmpLayout, height: int, width: int) -> NDArray[np.uint8]:
    """The indices from run-length coding; a file that leaves pixels out is refused, since nobody says what they are."""
    is_4 = layout.bits == 4
    indices = np.zeros((height, width), np.uint8)
    num_set = 0
    row, column, place = height - 1, 0, layout.pixels_at
    try:
        while True:
            count, value = data[place], data[place + 1]
            place += 2
            if count:  # a run: one value, or two in turn
                taken = np.resize(np.array([value >> 4, value & 15], np.uint8), count) if is_4 else value
            elif value == 1:
                break
            elif value == 0:
                row, column = row - 1, 0
                continue
            elif value == 2:
                raise ContainerError("a BMP file that leaves pixels out")
            else:  # pixels one by one, padded to two bytes
                count = value
                num_bytes = (count + 1) // 2 if is_4 else count
                if place + num_bytes > len(data):
                    raise ContainerError(CUT_OFF)
                raw = np.frombuffer(data, np.uint8, num_bytes, place)
                taken = np.stack([raw >> 4, raw & 15], axis=1).ravel()[:count] if is_4 else raw
                place += num_bytes + num_bytes % 2
            if row < 0 or column + count > width:
                raise ContainerError("damaged BMP file: a run of pixels leaves the image")
            indices[row, column : column + count] = taken
            column += count
            num_set += count
    except IndexError:
        raise ContainerError(CUT_OFF) from None
    if num_set < height * width:
        raise ContainerError("a BMP file that leaves pixels out")
    return indices
