"""BMP and WebP files of all kinds, row by row of the table in docs/data.md."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from tests.images.rows import File, Files, by_pillow, row, turned
from tests.images.writers import HW, bmp, exif, picture, saved_by_pillow, webp_with

RGB = picture()
GRAY = picture(channels=1)[..., 0]
WITH_MASKS = (40, 52, 56, 108, 124)
"""Sizes of headers that know bit fields; 12 does not."""


def packed_rows(indices: NDArray[np.uint8], bits: int) -> list[bytes]:
    single = (indices[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(line.ravel()).tobytes() for line in single.astype(np.uint8)]


def colors_of(bits: int) -> NDArray[np.uint8]:
    return np.random.default_rng(bits).integers(0, 256, (2**bits, 3)).astype(np.uint8)


@row("BMP", "palette with 1, 4 or 8 bits, in headers of 12, 40, 52, 56, 108 or 124 bytes")
def bmp_palette() -> Files:
    for bits, header_size, is_top_down in itertools.product((1, 4, 8), (12, *WITH_MASKS), (False, True)):
        if header_size == 12 and is_top_down:
            continue
        indices, palette = GRAY >> (8 - bits), colors_of(bits)
        data = bmp(packed_rows(indices, bits), bits, header_size=header_size, palette=palette, is_top_down=is_top_down)
        yield File(f"{bits} bits, header {header_size}, {is_top_down}", data, palette[indices])
    few = colors_of(8)[:100]
    yield File("100 colors", bmp(packed_rows(GRAY // 3, 8), 8, palette=few), few[GRAY // 3])
    for mode in ("1", "L", "P"):
        data = saved_by_pillow(PIL.Image.fromarray(RGB).convert(mode), "BMP")
        yield File(f"Pillow {mode}", data, by_pillow(data))


@row("BMP", "24 or 32 bits without bit fields")
def bmp_true_color() -> Files:
    for bits, header_size in itertools.product((24, 32), (12, *WITH_MASKS)):
        filler = np.full((*HW, bits // 8 - 3), 99, np.uint8)  # the fourth byte says nothing
        lines = [line.tobytes() for line in np.dstack([RGB[..., ::-1], filler])]
        for is_top_down in (False, True) if header_size > 12 else (False,):
            data = bmp(lines, bits, header_size=header_size, is_top_down=is_top_down)
            yield File(f"{bits} bits, header {header_size}, {is_top_down}", data, RGB)
    odd = RGB[:, :53]
    yield File("rows padded", bmp([line.tobytes() for line in odd[..., ::-1]], 24, hw=(40, 53)), odd)


def with_fields(masks: Sequence[int], bits: int) -> tuple[list[bytes], NDArray[np.uint8]]:
    """Rows whose pixels stand under the masks, and what becomes of them; bits under no mask are set."""
    total = np.zeros(HW, np.uint64)
    expected = np.zeros((*HW, 3), np.uint8)
    for channel, mask in enumerate(masks):
        if mask:
            shift = (mask & -mask).bit_length() - 1
            largest = mask >> shift
            source = RGB[..., channel] if channel < 3 else np.full(HW, 77)
            part = np.rint(source / 255 * largest).astype(np.uint64)
            total |= part << np.uint64(shift)
            if channel < 3:
                expected[..., channel] = np.rint(part.astype(float) * 255 / largest).astype(np.uint8)
    covered = 0
    for mask in masks:
        covered |= mask
    total |= np.uint64(~covered & (1 << bits) - 1)
    kind = "<u2" if bits == 16 else "<u4"
    return [line.astype(kind).tobytes() for line in total], expected


FIELDS = {
    32: [
        (0xFF0000, 0xFF00, 0xFF),
        (0xFF, 0xFF00, 0xFF0000),
        (0xFF000000, 0xFF0000, 0xFF00),
        (0xFF00, 0xFF0000, 0xFF000000),
        (0xFF00, 0xFF, 0xFF0000),
        (0x3FF00000, 0xFFC00, 0x3FF),
        (0xFFE00000, 0x1FFC00, 0x3FF),
        (0xF0, 0xF00000, 0xF),
        (0xF80000, 0xFC00, 0xF8),
        (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
        (0x3FF, 0xFFC00, 0x3FF00000, 0xC0000000),
    ],
    16: [
        (0xF800, 0x7E0, 0x1F),
        (0x7C00, 0x3E0, 0x1F),
        (0x1F, 0x7E0, 0xF800),
        (0xF00, 0xF0, 0xF),
        (0xF00, 0xF0, 0xF, 0xF000),
        (0x7C00, 0x3E0, 0x1F, 0x8000),
        (0xE0, 0x1C, 0x3),
    ],
}


@row("BMP", "bit fields of 16 or 32 bits, with or without alpha, in headers of 40, 52, 56, 108 or 124 bytes")
def bmp_fields() -> Files:
    for bits, header_size in itertools.product((16, 32), WITH_MASKS):
        for masks in FIELDS[bits]:
            has_alpha = len(masks) == 4
            if has_alpha and header_size == 52:
                continue  # this header has no place for alpha
            lines, expected = with_fields(masks, bits)
            compression = 6 if has_alpha and header_size == 40 else 3
            given = masks if has_alpha or header_size in (40, 52) else (*masks, 0)
            for is_top_down in (False, True):
                data = bmp(
                    lines,
                    bits,
                    header_size=header_size,
                    compression=compression,
                    masks=given,
                    is_top_down=is_top_down,
                )
                yield File(f"{bits} bits, header {header_size}, {masks}, {is_top_down}", data, expected)


@row("BMP", "16 bits without bit fields: 5 for each color")
def bmp_five_bits() -> Files:
    lines, expected = with_fields((0x7C00, 0x3E0, 0x1F), 16)
    for header_size in (12, *WITH_MASKS):
        yield File(f"header {header_size}", bmp(lines, 16, header_size=header_size), expected)


def coded(indices: NDArray[np.uint8], bits: int) -> bytes:
    """Runs where a value repeats itself, the rest as it is; rows from the bottom."""
    out = bytearray()
    for line in indices[::-1]:
        place = 0
        while place < len(line):
            run = 1
            while run < 255 and place + run < len(line) and line[place + run] == line[place]:
                run += 1
            if run == 1 and place + 5 <= len(line):
                part = line[place : place + 5]
                raw = part.tobytes() if bits == 8 else packed_rows(part[None], 4)[0]
                out += bytes([0, 5]) + raw + bytes(len(raw) % 2)
                run = 5
            else:
                value = int(line[place])
                out += bytes([run, value if bits == 8 else value * 17])
            place += run
        out += b"\0\0"
    return bytes(out[:-2] + b"\0\1")


@row("BMP", "run-length coding (RLE4, RLE8)")
def bmp_runs() -> Files:
    for bits, kind in ((8, 1), (4, 2)):
        indices = (GRAY >> (8 - bits)) & ~np.uint8(3 if bits == 8 else 1)
        palette = colors_of(bits)
        data = bmp(coded(indices, bits), bits, compression=kind, palette=palette)
        yield File(f"{bits} bits", data, palette[indices])
        np.testing.assert_array_equal(by_pillow(data), palette[indices])
    two_in_turn = np.tile(np.array([3, 12], np.uint8), 28)[None].repeat(40, axis=0)
    runs = (bytes([56, 0x3C]) + b"\0\0") * 40 + b"\0\1"
    yield File("two colors in turn", bmp(runs, 4, compression=2, palette=colors_of(4)), colors_of(4)[two_in_turn])


@row("BMP", "runs that leave pixels out or leave the image")
def bmp_bad_runs() -> Files:
    palette = colors_of(8)
    whole = (bytes([56, 7]) + b"\0\0") * 40 + b"\0\1"
    for what, runs, reason in (
        ("jump", b"\0\2\1\1" + whole, "leaves pixels out"),
        ("short rows", (bytes([50, 7]) + b"\0\0") * 40 + b"\0\1", "leaves pixels out"),
        ("few rows", (bytes([56, 7]) + b"\0\0") * 30 + b"\0\1", "leaves pixels out"),
        ("long rows", (bytes([60, 7]) + b"\0\0") * 40 + b"\0\1", "leaves the image"),
        ("many rows", (bytes([56, 7]) + b"\0\0") * 41 + b"\0\1", "leaves the image"),
        ("no end", whole[:-2], "cut off"),
    ):
        yield File(what, bmp(runs, 8, compression=1, palette=palette), reason)


@row("BMP", "headers of other sizes, JPEG or PNG inside, masks that overlap or have gaps, colors outside the palette")
def bmp_refused() -> Files:
    lines = [line.tobytes() for line in RGB[..., ::-1]]
    plain = bmp(lines, 24)
    for size in (16, 64):
        yield File(f"header {size}", plain[:14] + struct.pack("<I", size) + plain[18:], f"header of {size} bytes")
    for kind, what in ((4, "a JPEG image"), (5, "a PNG image"), (11, "the kind 11")):
        yield File(what, bmp(lines, 24, compression=kind), what)
    four = [line.tobytes() for line in np.dstack([RGB, GRAY])]
    for masks in ((0xFF, 0xFF, 0xFF00), (0xFF00FF, 0xFF00, 0xFF000000), (0, 0xFF00, 0xFF), (0xFF0000, 0xFF00, 0xFE01)):
        yield File(f"{masks}", bmp(four, 32, compression=3, masks=masks), "do not share out 32 bits")
    two = [line.tobytes() for line in np.dstack([GRAY, GRAY])]
    yield File("masks of 32 bits", bmp(two, 16, compression=3, masks=(0xFF0000, 0xFF00, 0xFF)), "share out 16 bits")
    yield File("2 bits", bmp(packed_rows(GRAY >> 6, 2), 2, palette=colors_of(2)), "with 2 bits")
    yield File("palette", bmp(packed_rows(GRAY, 8), 8, palette=colors_of(4)), "not in its palette")
    yield File("cut off", plain[:-1], "cut off")


# ---- WebP


def webp(pixels: NDArray[np.uint8] = RGB, **options: object) -> bytes:
    return saved_by_pillow(pixels, "WEBP", **options)


@row("WebP", "lossy or lossless")
def webp_kinds() -> Files:
    yield File("lossless", webp(lossless=True), RGB)
    for quality in (30, 90):
        yield File(f"lossy {quality}", webp(quality=quality), by_pillow(webp(quality=quality)))


@row("WebP", "alpha channel")
def webp_alpha() -> Files:
    four = np.dstack([RGB, GRAY])
    yield File("lossless", webp(four, lossless=True, exact=True), RGB)
    yield File("lossy", webp(four), by_pillow(webp(four)))


@row("WebP", "EXIF orientation in any chunk")
def webp_orientation() -> Files:
    for orientation in range(1, 9):
        options = {"lossless": True, "exif": exif(orientation)}
        yield File(f"{orientation}", webp(**options), turned(RGB, orientation))
    noise = np.random.default_rng(0).integers(0, 256, (320, 640, 3)).astype(np.uint8)
    data = saved_by_pillow(noise, "WEBP", lossless=True, exif=b"Exif\0\0" + exif(6, ">"))
    yield File("behind 600 kB of pixels", data, turned(noise, 6))
    yield File("behind other chunks", webp_with(data, [(b"XMP ", bytes(9)), (b"ABCD", b"")]), turned(noise, 6))


@row("WebP", "animation whose first image fills it")
def webp_animated() -> Files:
    more = [PIL.Image.fromarray(picture(seed=1))]
    for options in ({"lossless": True}, {"quality": 90}):
        data = saved_by_pillow(RGB, "WEBP", save_all=True, append_images=more, **options)
        yield File(f"{options}", data, by_pillow(data))


@row("WebP", "animation whose first image does not fill it, sizes that differ, cut off")
def webp_refused() -> Files:
    more = [PIL.Image.fromarray(picture(seed=1))]
    data = bytearray(saved_by_pillow(RGB, "WEBP", save_all=True, append_images=more, lossless=True))
    frame = data.index(b"ANMF") + 8
    data[frame + 6 : frame + 9] = (30).to_bytes(3, "little")
    yield File("first image", bytes(data), "does not fill it")
    with_exif = bytearray(webp(lossless=True, exif=exif(6)))
    canvas = with_exif.index(b"VP8X") + 12
    with_exif[canvas : canvas + 3] = (99).to_bytes(3, "little")
    yield File("canvas", bytes(with_exif), "differ in size")
    yield File("cut off", webp(lossless=True)[:-10], "cut off")
