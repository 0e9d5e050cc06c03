"""TIFF files of all kinds, row by row of the table in docs/data.md."""

from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
import PIL.Image
import tifffile

from tests.images.rows import File, Files, by_pillow, row, turned
from tests.images.writers import (
    Array,
    Tags,
    eight_bit,
    picture,
    saved_by_pillow,
    tiff,
    tiff_file,
    tiff_page,
    values,
)

RGB = picture()
LAYOUTS: tuple[dict[str, Any], ...] = ({}, {"rows_per_strip": 7}, {"tile_hw": (16, 32)}, {"tile_hw": (64, 64)})
NONE, LZW, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 5, 8, 32946, 32773


def stored(numbers: Array, bits: int, *, compressions: tuple[tuple[int, int], ...], **how: Any) -> Files:
    """The numbers in every byte order, layout, and (compression, predictor) given, each as the same pixels."""
    expected = how.pop("expected")
    for order, layout, (compression, predictor) in itertools.product("<>", LAYOUTS, compressions):
        given = {"order": order, **layout, "compression": compression, "predictor": predictor, **how}
        yield File(f"{bits} bits {numbers.dtype} {given}", tiff(numbers, bits, **given), expected)


@row("TIFF", "gray or RGB with 1 to 16 bits")
def tiff_whole() -> Files:
    for bits, channels in itertools.product((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16), (1, 3)):
        numbers = values(bits, channels)
        yield from stored(numbers, bits, compressions=((NONE, 1), (LZW, 1)), expected=eight_bit(numbers, bits))
    for channels in (1, 3):
        numbers = values(8, channels)
        undefined: Tags = {339: (3, [4] * channels)}
        yield File(f"{channels}, type undefined", tiff(numbers, 8, tags=undefined), eight_bit(numbers, 8))
    no_tags, blocks = tiff_page(values(1, 1), 1)
    for tag in (258, 259, 277, 278, 284, 339):
        del no_tags[tag]
    yield File("all defaults", tiff_file([(no_tags, blocks)]), eight_bit(values(1, 1), 1))


@row("TIFF", "gray or RGB of floating point numbers with 16, 32 or 64 bits")
def tiff_float() -> Files:
    for bits, channels in itertools.product((16, 32, 64), (1, 3)):
        numbers = values(bits, channels, "f")
        compressions = ((NONE, 1), (LZW, 1), (LZW, 3), (DEFLATE, 3))
        yield from stored(numbers, bits, compressions=compressions, expected=eight_bit(numbers, bits))


@row("TIFF", "white is zero")
def tiff_white_is_zero() -> Files:
    for bits in (1, 2, 4, 8, 10, 12, 14, 16):
        numbers = values(bits, 1)
        expected = eight_bit(numbers, bits, is_white_zero=True)
        yield from stored(numbers, bits, compressions=((NONE, 1), (DEFLATE, 1)), photometric=0, expected=expected)
        yield File(f"{bits} bits by tifffile", by_tifffile(numbers[..., 0], bits, photometric="miniswhite"), expected)


def by_tifffile(numbers: Array, bits: int, **options: Any) -> bytes:
    """The numbers as tifffile writes them; of few bits only what NumPy has a type for."""
    if bits not in (1, 8, 16, 32, 64):
        return tiff(numbers[..., None], bits, photometric=0)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, numbers.astype(bool) if bits == 1 else numbers, **options)
    return buffer.getvalue()


@row("TIFF", "palette with 1 to 8 bits")
def tiff_palette() -> Files:
    for bits in range(1, 9):
        numbers = values(bits, 1)
        colors = np.random.default_rng(bits).integers(0, 65536, (3, 2**bits))
        for what, table in (("16 bits", colors), ("repeated bytes", colors // 256 * 257), ("8 bits", colors // 256)):
            tags: Tags = {320: (3, table.ravel().tolist())}
            expected = (colors // 256).astype(np.uint8).T[numbers[..., 0]]
            for file in stored(
                numbers, bits, compressions=((NONE, 1), (LZW, 1)), photometric=3, tags=tags, expected=expected
            ):
                yield File(f"{what} {file.what}", file.data, expected)
    data = saved_by_pillow(PIL.Image.fromarray(RGB).convert("P"), "TIFF")
    yield File("Pillow", data, by_pillow(data))


@row("TIFF", "channels in planes")
def tiff_planes() -> Files:
    for bits, kind in ((1, "u"), (4, "u"), (8, "u"), (12, "u"), (16, "u"), (16, "f"), (32, "f"), (64, "f")):
        numbers = values(bits, 3, kind)
        predictors = ((DEFLATE, 3),) if kind == "f" else ((DEFLATE, 2),) if bits in (8, 16) else ()
        compressions = ((NONE, 1), (LZW, 1), (DEFLATE, 1), *predictors)
        yield from stored(numbers, bits, planar=2, compressions=compressions, expected=eight_bit(numbers, bits))


@row("TIFF", "alpha or one more channel")
def tiff_alpha() -> Files:
    for bits, kind in ((8, "u"), (16, "u"), (12, "u"), (32, "f")):
        for channels, meaning, planar in itertools.product((2, 4), (0, 1, 2, None), (1, 2)):
            numbers = values(bits, channels, kind)
            tags: Tags = {} if meaning is None else {338: (3, [meaning])}
            expected = eight_bit(numbers[..., :1] if channels == 2 else numbers, bits)
            how = {"planar": planar, "tags": tags, "compressions": ((NONE, 1),)}
            yield from stored(numbers, bits, expected=expected, **how)
    gray_and_two = values(8, 3)
    tags = {338: (3, [0, 0])}
    yield File("gray and two", tiff(gray_and_two, 8, photometric=1, tags=tags), eight_bit(gray_and_two[..., :1], 8))


@row("TIFF", "compression none, LZW, Deflate or PackBits, with differences of values (predictor 2 or 3)")
def tiff_compressions() -> Files:
    for bits, kind, channels in itertools.product((8, 16, 32), "uf", (1, 3, 4)):
        if (bits, kind) in ((8, "f"), (32, "u")):
            continue
        numbers = values(bits, channels, kind)
        predictors = (1, 3) if kind == "f" else (1, 2)
        compressions = tuple(itertools.product((LZW, DEFLATE, OLD_DEFLATE), predictors))
        how = {"compressions": (*compressions, (PACKBITS, 1)), "expected": eight_bit(numbers, bits)}
        yield from stored(numbers, bits, **how)
    for compression in ("tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits"):
        for mode in ("1", "L", "RGB", "P", "RGBA"):
            data = saved_by_pillow(PIL.Image.fromarray(RGB).convert(mode), "TIFF", compression=compression)
            yield File(f"Pillow {mode} {compression}", data, by_pillow(data))
    for dtype, tile, order, is_big, planar, compression in itertools.product(
        ("u1", "u2", "f4"), (None, (16, 32)), "<>", (False, True), ("contig", "separate"), (None, "zlib")
    ):
        numbers = values(int(dtype[1]) * 8, 3, dtype[0])
        given = numbers if planar == "contig" else np.moveaxis(numbers, 2, 0)
        how = {"photometric": "rgb", "planarconfig": planar, "byteorder": order, "bigtiff": is_big}
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, given, tile=tile, compression=compression, **how)
        what = f"tifffile {dtype} {tile} {order} {is_big} {planar} {compression}"
        yield File(what, buffer.getvalue(), eight_bit(numbers, int(dtype[1]) * 8))


@row("TIFF", "bits of each byte reversed (fill order 2)")
def tiff_reversed() -> Files:
    for bits in (1, 4, 8, 12, 16):
        numbers = values(bits, 1)
        how = {"is_bit_reversed": True, "compressions": ((NONE, 1), (LZW, 1), (DEFLATE, 1), (PACKBITS, 1))}
        yield from stored(numbers, bits, expected=eight_bit(numbers, bits), **how)


@row("TIFF", "orientation")
def tiff_orientation() -> Files:
    for orientation, compression in itertools.product(range(1, 9), (NONE, LZW)):
        tags: Tags = {274: (3, [orientation])}
        data = tiff(RGB, 8, compression=compression, tags=tags)
        yield File(f"{orientation} {compression}", data, turned(RGB, orientation))
        wide = values(16, 1)
        data = tiff(wide, 16, compression=compression, tags=tags)
        yield File(f"16 bits {orientation} {compression}", data, turned(eight_bit(wide, 16), orientation))
    for orientation in range(1, 9):
        data = saved_by_pillow(RGB, "TIFF", compression="jpeg", tiffinfo={274: orientation})
        pixels = turned(by_pillow(saved_by_pillow(RGB, "TIFF", compression="jpeg")), orientation)
        yield File(f"JPEG {orientation}", data, pixels)


@row("TIFF", "thumbnails and masks before or behind the image")
def tiff_thumbnails() -> Files:
    image, small = tiff_page(RGB, 8), picture(24, 24)
    mask = tiff_page(values(1, 1), 1, photometric=4, tags={254: (4, [4])})
    for what, tags in (("new", {254: (4, [1])}), ("old", {255: (3, [2])})):
        thumbnail = tiff_page(small, 8, tags=tags)
        for pages in ([thumbnail, image], [image, thumbnail], [thumbnail, mask, image], [mask, thumbnail, image]):
            yield File(f"{what}, {len(pages)} pages", tiff_file(pages), RGB)


@row("TIFF", "several pages")
def tiff_pages() -> Files:
    for order, is_big in itertools.product("<>", (False, True)):
        pages = [tiff_page(picture(seed=seed), 8, order=order, tags={254: (4, [2])}) for seed in (0, 1, 2)]
        yield File(f"{order} {is_big}", tiff_file(pages, order=order, is_big=is_big), RGB)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.stack([picture(seed=seed) for seed in (0, 1)]), photometric="rgb")
    yield File("tifffile", buffer.getvalue(), RGB)


@row("TIFF", "fax compression (1 bit) and JPEG compression (8 bits)")
def tiff_for_libtiff() -> Files:
    one_bit = PIL.Image.fromarray(RGB).convert("1")
    for compression in ("tiff_ccitt", "group3", "group4"):
        data = saved_by_pillow(one_bit, "TIFF", compression=compression)
        yield File(compression, data, np.asarray(one_bit.convert("RGB")))
    for mode in ("L", "RGB", "YCbCr", "CMYK"):
        data = saved_by_pillow(PIL.Image.fromarray(RGB).convert(mode), "TIFF", compression="jpeg")
        yield File(f"JPEG {mode}", data, by_pillow(data), tolerance=1)


@row("TIFF", "CMYK with 8 or 16 bits")
def tiff_cmyk() -> Files:
    inks = PIL.Image.fromarray(RGB).convert("CMYK")
    numbers = np.asarray(inks)
    expected = by_pillow(saved_by_pillow(inks, "TIFF"))
    for planar in (1, 2):
        yield File(f"8 bits {planar}", tiff(numbers, 8, photometric=5, planar=planar), expected, tolerance=1)
        sixteen = numbers.astype(np.uint16) * 257
        yield File(f"16 bits {planar}", tiff(sixteen, 16, photometric=5, planar=planar), expected, tolerance=1)


@row("TIFF", "YCbCr with 8 bits")
def tiff_ycbcr() -> Files:
    for compression in ("raw", "tiff_lzw", "tiff_deflate"):
        data = saved_by_pillow(PIL.Image.fromarray(RGB).convert("YCbCr"), "TIFF", compression=compression)
        yield File(compression, data, by_pillow(data), tolerance=1)


@row("TIFF", "signed, complex or 32-bit whole numbers; channels that differ in bits; more than four channels")
def tiff_refused_numbers() -> Files:
    for bits in (8, 16, 32):
        yield File(f"signed {bits}", tiff(values(bits, 1).astype(f"i{bits // 8}"), bits), f"pixels of type int{bits}")
    yield File("32 bits", tiff(values(32, 1), 32), "pixels of type uint32")
    yield File("64 bits", tiff(values(32, 1).astype(np.uint64), 64), "whole numbers with 64 bits")
    yield File("24 bits", tiff(values(8, 3).reshape(40, 56, 3), 8, tags={258: (3, [24] * 3)}), "with 24 bits")
    yield File("complex", tiff(values(32, 1), 32, tags={339: (3, [6])}), "complex numbers")
    yield File("5, 6 and 5 bits", tiff(RGB, 8, tags={258: (3, [5, 6, 5])}), "differ in their bits")
    yield File("types", tiff(RGB, 8, tags={339: (3, [1, 2, 1])}), "differ in their number types")
    yield File("five", tiff(values(8, 5), 8), "5 channels; at most 4")
    yield File("volume", tiff(RGB, 8, tags={32997: (4, [4])}), "a volume")
    yield File("signed palette", tiff(values(8, 1).view(np.int8), 8, photometric=3), "palette of 8 bits")


@row("TIFF", "colors other than these: CIELab, LogLuv, raw camera values, inks other than CMYK, gray of three channels")
def tiff_refused_colors() -> Files:
    for photometric, what in ((8, "CIELab"), (32845, "LogLuv"), (32803, "color filter array"), (99, "unknown meaning")):
        yield File(what, tiff(RGB, 8, photometric=photometric), what)
    yield File("a mask alone", tiff(values(1, 1), 1, photometric=4), "a transparency mask")
    yield File("inks", tiff(values(8, 4), 8, photometric=5, tags={332: (3, [2])}), "inks other than CMYK")
    yield File("gray of three channels", tiff(RGB, 8, photometric=1), "3 channels that are said to be gray")
    yield File("RGB of one channel", tiff(values(8, 1), 8, photometric=2), "1 channels for")
    yield File("extra channels that are none", tiff(RGB, 8, tags={338: (3, [2])}), "said to be extra")
    yield File("no palette", tiff(values(8, 1), 8, photometric=3), "palette is missing")
    yield File("float white is zero", tiff(values(32, 1, "f"), 32, photometric=0), "whose white is zero")
    tags, blocks = tiff_page(RGB, 8)
    del tags[262]
    yield File("nothing said", tiff_file([(tags, blocks)]), "does not say what its values mean")


@row("TIFF", "other compressions: old JPEG, JPEG 2000, LZMA, Zstandard, WebP; a predictor where there can be none")
def tiff_refused_compressions() -> Files:
    kinds = (
        (6, "old JPEG"),
        (34712, "JPEG 2000"),
        (34925, "LZMA"),
        (50000, "Zstandard"),
        (50001, "WebP"),
        (9, "unknown"),
    )
    for number, name in kinds:
        yield File(name, tiff(RGB, 8, tags={259: (3, [number])}), name)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, RGB, photometric="rgb", compression="lzma")
    yield File("LZMA by tifffile", buffer.getvalue(), "LZMA")
    for compression in (NONE, PACKBITS):
        data = tiff(RGB, 8, compression=compression, tags={317: (3, [2])})
        yield File(f"differences with {compression}", data, "a predictor that its compression")
    yield File("floats", tiff(RGB, 8, compression=DEFLATE, tags={317: (3, [3])}), "predictor of floating point")
    yield File("12 bits", tiff(values(12, 1), 12, compression=DEFLATE, tags={317: (3, [2])}), "with 12 bits")
    yield File("predictor 7", tiff(RGB, 8, compression=DEFLATE, tags={317: (3, [7])}), "predictor 7")
    yield File("JPEG of 16 bits", tiff(values(16, 1), 16, tags={259: (3, [7])}), "JPEG compression of 16 bits")
    yield File("fax of 8 bits", tiff(RGB, 8, tags={259: (3, [4])}), "fax compression of 3 channels")
    for tag, name in ((284, "planar configuration 3"), (266, "fill order 3")):
        yield File(name, tiff(RGB, 8, tags={tag: (3, [3])}), name)


@row("TIFF", "strips or tiles that are missing, too short, empty, shared or far larger than the image")
def tiff_refused_places() -> Files:
    tags, blocks = tiff_page(RGB, 8, rows_per_strip=8)
    whole = tiff_file([(tags, blocks)])
    offsets = [8 + number * 8 * 56 * 3 for number in range(5)]
    counts = [8 * 56 * 3] * 5
    for what, change, reason in (
        ("no counts", {279: (4, counts[:4])}, "does not say how many bytes"),
        ("no places", {273: (4, offsets[:2])}, "the places of its pixels are missing"),
        ("too short", {279: (4, [*counts[:4], 100])}, "cut off"),
        ("behind the end", {273: (4, [*offsets[:4], 10**6])}, "cut off"),
        ("empty", {279: (4, [*counts[:4], 0])}, "leaves pixels out"),
        ("no rows", {278: (4, [0])}, "strips without rows"),
        (
            "two of one tag",
            {273: (4, [8, *offsets[:4]]), 279: (4, [10**4, *counts[:4]])},
            "cut off|share the same bytes",
        ),
    ):
        yield File(what, tiff_file([({**tags, **change}, blocks)]), reason)
    shared = {273: (4, [8] * 40), 279: (4, [2000] * 40), 278: (4, [1])}
    yield File("shared", tiff_file([({**tags, **shared}, blocks)]), "share the same bytes")
    yield File("cut off", whole[:300] + whole[-300:], "cut off|damaged")
    tile = {322: (4, [16_121_872]), 323: (4, [16])}
    wide_tags, wide_blocks = tiff_page(RGB, 8, compression=DEFLATE, tile_hw=(16, 64))
    yield File("wide tiles", tiff_file([({**wide_tags, **tile}, wide_blocks)]), "tiles of 16121872 x 16 for 56 x 40")
    for compression in (LZW, DEFLATE, PACKBITS):
        for columns in (56, 55):
            narrow = RGB[:39, :columns]
            tags, (block,) = tiff_page(narrow, 8, compression=compression)
            data = tiff_file([(tags, [block[: len(block) * 2 // 3]])])
            yield File(f"half of {compression}, {columns}", data, "cannot be decompressed|decoder refuses|damaged")


@row("TIFF", "a preview alone, its image in a sub-directory, as raw files of cameras have it")
def tiff_preview() -> Files:
    preview = tiff_page(picture(24, 24), 8, tags={254: (4, [1]), 330: (4, [8])})
    yield File("preview", tiff_file([preview]), "holds only a preview")
