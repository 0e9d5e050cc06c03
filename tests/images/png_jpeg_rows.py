"""PNG and JPEG files of all kinds, row by row of the table in docs/data.md."""

from __future__ import annotations

import itertools
import struct
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from tests.images.rows import File, Files, by_pillow, row, turned
from tests.images.writers import eight_bit, exif, picture, png, png_chunk, saved_by_pillow, values

RGB = picture()


# ---- PNG


@row("PNG", "gray with 1, 2, 4, 8 or 16 bits")
def png_gray() -> Files:
    for bits in (1, 2, 4, 8, 16):
        yield File(f"{bits}", png(values(bits, 1), bits, 0), eight_bit(values(bits, 1), bits))
    for mode in ("1", "L"):
        image = PIL.Image.fromarray(RGB).convert(mode)
        yield File(f"Pillow {mode}", saved_by_pillow(image, "PNG"), np.asarray(image.convert("RGB")))


@row("PNG", "RGB with 8 or 16 bits")
def png_rgb() -> Files:
    for bits in (8, 16):
        yield File(f"{bits}", png(values(bits, 3), bits, 2), eight_bit(values(bits, 3), bits))


@row("PNG", "palette with 1, 2, 4 or 8 bits")
def png_palette() -> Files:
    for bits in (1, 2, 4, 8):
        colors = np.random.default_rng(bits).integers(0, 256, (2**bits, 3)).astype(np.uint8)
        data = png(values(bits, 1), bits, 3, before={b"PLTE": colors.tobytes()})
        yield File(f"{bits}", data, colors[values(bits, 1)[..., 0]])


@row("PNG", "alpha channel, or transparent colors")
def png_alpha() -> Files:
    for bits, color in itertools.product((8, 16), (4, 6)):
        numbers = values(bits, 2 if color == 4 else 4)
        expected = eight_bit(numbers[..., :1] if color == 4 else numbers, bits)
        yield File(f"{bits} bits, color type {color}", png(numbers, bits, color), expected)
    colors = np.random.default_rng(0).integers(0, 256, (16, 3)).astype(np.uint8)
    before = {b"PLTE": colors.tobytes(), b"tRNS": bytes(range(0, 256, 16))}
    yield File("palette", png(values(4, 1), 4, 3, before=before), colors[values(4, 1)[..., 0]])
    yield File("one color", png(RGB, 8, 2, before={b"tRNS": struct.pack(">HHH", *RGB[0, 0].tolist())}), RGB)
    one_gray = struct.pack(">H", int(values(16, 1)[0, 0, 0]))
    yield File("one gray", png(values(16, 1), 16, 0, before={b"tRNS": one_gray}), eight_bit(values(16, 1), 16))


@row("PNG", "interlaced")
def png_interlaced() -> Files:
    for bits, color, channels in ((1, 0, 1), (8, 0, 1), (16, 2, 3), (8, 6, 4)):
        numbers = values(bits, channels)
        yield File(f"{bits} bits, {color}", png(numbers, bits, color, is_interlaced=True), eight_bit(numbers, bits))


@row("PNG", "EXIF orientation before or behind the pixels")
def png_orientation() -> Files:
    for orientation, order in itertools.product(range(1, 9), "<>"):
        block = {b"eXIf": exif(orientation, order)}
        yield File(f"{orientation} before", png(RGB, 8, 2, before=block), turned(RGB, orientation))
        yield File(f"{orientation} behind", png(RGB, 8, 2, behind=block), turned(RGB, orientation))
    long = {b"tEXt": b"a\0" + bytes(400_000), b"eXIf": exif(6)}
    yield File("behind a long text", png(RGB, 8, 2, behind=long), turned(RGB, 6))


@row("PNG", "several images (APNG)")
def png_animated() -> Files:
    frames = [PIL.Image.fromarray(picture(seed=seed)) for seed in (1, 2)]
    for is_apart in (False, True):
        data = saved_by_pillow(RGB, "PNG", save_all=True, append_images=frames, default_image=is_apart)
        yield File(f"default image {is_apart}", data, RGB)


@row("PNG", "gamma, color profile, texts")
def png_unapplied() -> Files:
    for kind, body in {b"gAMA": struct.pack(">I", 100_000), b"sBIT": b"\5\5\5", b"zTXt": b"a\0\0" + bytes(9)}.items():
        yield File(kind.decode(), png(RGB, 8, 2, before={kind: body}), RGB)


@row("PNG", "wrong checksum, chunk of an unknown critical kind, pixels missing")
def png_refused() -> Files:
    data = png(RGB, 8, 2)
    yield File("checksum", data[:-1] + b"x", "a checksum is wrong")
    yield File("critical chunk", png(RGB, 8, 2, before={b"ABCD": b""}), "unknown kind 'ABCD'")
    yield File("half of the rows", short_png(), "damaged")
    yield File("no pixels", data[:33] + png_chunk(b"IEND", b""), "its pixels or its palette are missing")
    yield File("3 bits", data[:8] + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 56, 40, 3, 2, 0, 0, 0)), "with 3 bits")


def short_png() -> bytes:
    """A PNG with right checksums whose header promises twice the rows that it holds."""
    half = png(RGB[:20], 8, 2)
    return half[:8] + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 56, 40, 8, 2, 0, 0, 0)) + half[33:]


# ---- JPEG


def jpeg(pixels: NDArray[np.uint8] | PIL.Image.Image = RGB, **options: Any) -> bytes:
    return saved_by_pillow(pixels, "JPEG", **{"quality": 95, **options})


def segment(code: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, code, len(body) + 2) + body


def segments(data: bytes) -> list[bytes]:
    """The start mark, each segment of the header, and the rest from the first scan on."""
    parts, place = [data[:2]], 2
    while data[place + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, place + 2)
        parts.append(data[place : place + 2 + length])
        place += 2 + length
    return [*parts, data[place:]]


def with_frame(data: bytes, change: dict[int, bytes], code: int | None = None) -> bytes:
    """The file with bytes of its frame changed: place behind the length -> bytes."""
    parts = segments(data)
    for number, part in enumerate(parts):
        if part[1] in (0xC0, 0xC2):
            body = bytearray(part[4:])
            for place, new in change.items():
                body[place : place + len(new)] = new
            parts[number] = segment(code or part[1], bytes(body))
    return b"".join(parts)


@row("JPEG", "gray or color of 8 bits; baseline or progressive")
def jpeg_kinds() -> Files:
    for mode in ("L", "RGB"):
        for options in ({}, {"progressive": True}, {"optimize": True}, {"quality": 30}):
            data = jpeg(PIL.Image.fromarray(RGB).convert(mode), **options)
            yield File(f"{mode} {options}", data, by_pillow(data))
    stored_as_rgb = jpeg(keep_rgb=True)
    yield File("without YCbCr", stored_as_rgb, by_pillow(stored_as_rgb))


@row("JPEG", "any subsampling, restart marks")
def jpeg_subsampled() -> Files:
    for subsampling in ("4:4:4", "4:2:2", "4:2:0", "4:1:1"):
        for options in ({}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 1}, {"progressive": True}):
            data = jpeg(subsampling=subsampling, **options)
            yield File(f"{subsampling} {options}", data, by_pillow(data))


@row("JPEG", "CMYK with Adobe's mark")
def jpeg_cmyk() -> Files:
    data = jpeg(PIL.Image.fromarray(RGB).convert("CMYK"))
    yield File("CMYK", data, by_pillow(data), tolerance=1)


@row("JPEG", "EXIF orientation in any segment before the first scan")
def jpeg_orientation() -> Files:
    plain = jpeg(subsampling=0)
    pixels = by_pillow(plain)
    start, *between, rest = segments(plain)
    for orientation, order, kind in itertools.product(range(1, 9), "<>", (3, 4)):
        block = segment(0xE1, b"Exif\0\0" + exif(orientation, order, kind))
        what = f"{orientation} {order} {kind}"
        yield File(f"{what} first", b"".join([start, block, *between, rest]), turned(pixels, orientation))
        yield File(f"{what} last", b"".join([start, *between, block, rest]), turned(pixels, orientation))
    profile = [segment(0xE2, b"ICC_PROFILE\0" + bytes([number, 12]) + bytes(60_000)) for number in range(1, 13)]
    late = [start, *profile, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0"), segment(0xE1, b"Exif\0\0" + exif(8))]
    yield File("behind a profile of 700 kB", b"".join([*late, *between, rest]), turned(pixels, 8))


@row("JPEG", "other data behind the end mark (MPO, a second picture)")
def jpeg_appended() -> Files:
    data = jpeg()
    yield File("zeros", data + bytes(1000), by_pillow(data))
    yield File("a picture", data + jpeg(picture(seed=1)), by_pillow(data))
    more = [PIL.Image.fromarray(picture(seed=seed)) for seed in (1, 2)]
    mpo = saved_by_pillow(RGB, "MPO", save_all=True, append_images=more)
    yield File("MPO", mpo, by_pillow(mpo))


@row("JPEG", "scans, restart marks or the end mark missing, whatever is appended")
def jpeg_cut_off() -> Files:
    for name, data in {"baseline": jpeg(), "progressive": jpeg(progressive=True)}.items():
        cut = data[: len(data) * 2 // 3]
        yield File(f"{name}", cut, "cut off|broken off|missing")
        yield File(f"{name} and a picture", cut + jpeg(picture(seed=1)), "broken off|a marker is missing")
        yield File(f"{name} and text", cut + b"end of the shift\n" * 20, "cut off|a marker is missing")
    rows = jpeg(restart_marker_rows=1)
    place = rows.index(b"\xff\xd1")
    yield File("an end mark behind two of five rows", rows[:place] + b"\xff\xd9", "parts of a scan are missing")
    yield File("one scan of gray", only_scan_of_first_component(), "scans are missing")
    yield File("an end mark at once", jpeg()[: jpeg().index(b"\xff\xda") + 14] + b"\xff\xd9", "cut off")


def only_scan_of_first_component() -> bytes:
    """A file of three components whose only scan holds the first one."""
    start, *between, _ = segments(jpeg(subsampling=0))
    gray_scan = segments(jpeg(PIL.Image.fromarray(RGB).convert("L")))[-1]
    return b"".join([start, *between, gray_scan])


@row("JPEG", "CMYK without Adobe's mark, 12 bits, lossless, hierarchical, two components")
def jpeg_refused() -> Files:
    inks = segments(jpeg(PIL.Image.fromarray(RGB).convert("CMYK")))
    yield File("CMYK", b"".join(part for part in inks if part[1] != 0xEE), "whether its inks are inverted")
    yield File("12 bits", with_frame(jpeg(), {0: b"\x0c"}), "12 bits")
    yield File("lossless", with_frame(jpeg(), {}, code=0xC3), "lossless or hierarchical")
    yield File("hierarchical", with_frame(jpeg(), {}, code=0xC5), "lossless or hierarchical")
    yield File("two components", with_frame(jpeg(), {5: b"\x02"}), "2 components")
    yield File("height told later", with_frame(jpeg(), {1: b"\0\0"}), "its size is missing")


@row("JPEG", "more than 64 scans")
def jpeg_many_scans() -> Files:
    data = jpeg(progressive=True)
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    yield File("65", data[:-2] + scan * (65 - data.count(b"\xff\xda")) + b"\xff\xd9", "more than 64 scans")
    yield File("1,000", data[:-2] + scan * 1000 + b"\xff\xd9", "more than 64 scans")
