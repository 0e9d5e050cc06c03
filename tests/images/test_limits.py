"""Work and memory are bounded by a file's size and by the limit on pixels, whatever its header promises."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from blemish.errors import ImageError
from blemish.images.decode import as_image, read_image
from blemish.schema import ReadSettings
from tests.images.png_jpeg_rows import jpeg, with_frame
from tests.images.rows import by_pillow
from tests.images.writers import (
    Tags,
    bmp,
    picture,
    png,
    png_chunk,
    saved_by_pillow,
    tiff,
    tiff_file,
    tiff_page,
    webp_with,
)

RGB = picture()
MEGABYTE = 1 << 20
SECONDS, MEGABYTES = 2.0, 150
"""What one of these files may take, on a busy machine too."""


def many_tags() -> bytes:
    """4,000 tags that share one megabyte."""
    tags, blocks = tiff_page(RGB, 8)
    data = bytearray(tiff_file([(tags, [*blocks, bytes(MEGABYTE)])]))
    return with_directory(data, [(30_000 + number, 1, MEGABYTE, 8) for number in range(4000)])


def wanted_tags() -> bytes:
    """The tags that are read, each of a million values on the same bytes."""
    tags, blocks = tiff_page(RGB, 8)
    for tag in (258, 320, 338, 339, 273, 279):
        tags.pop(tag, None)
    data = bytearray(tiff_file([(tags, [*blocks, bytes(MEGABYTE)])]))
    return with_directory(data, [(tag, 1, MEGABYTE, 8) for tag in (258, 266, 274, 320, 338, 339, 529, 532, 347)])


def with_directory(data: bytearray, entries: list[tuple[int, int, int, int]]) -> bytes:
    """The file with a directory behind its end that adds entries to those it has."""
    (place,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, place)
    table = [bytes(data[place + 2 + 12 * number : place + 14 + 12 * number]) for number in range(count)]
    table += [struct.pack("<HHII", *entry) for entry in entries]
    struct.pack_into("<I", data, 4, len(data))
    return bytes(data) + struct.pack("<H", len(table)) + b"".join(sorted(table)) + bytes(4)


def overlapping_directories() -> bytes:
    """4,000 pages of 60,000 tags each, all on the same bytes."""
    size = 12 * 60_000
    data = bytearray(b"II*\0" + struct.pack("<I", 8) + b"\x60\xea" + bytes(size + 100_000))
    for number in range(4000):
        place = 8 + 16 * number
        struct.pack_into("<H", data, place, 60_000)
        struct.pack_into("<I", data, place + 2 + size, place + 16)
    return bytes(data)


def long_exif() -> bytes:
    """4,096 entries of four million values each, none the orientation."""
    block = b"II*\0" + struct.pack("<IH", 8, 4096)
    block += b"".join(struct.pack("<HHII", 1000 + number, 1, 4_000_000, 10) for number in range(4096))
    return png(RGB, 8, 2, before={b"eXIf": block.ljust(4 * MEGABYTE, b"\0")})


def many_scans() -> bytes:
    data = jpeg(np.zeros((2000, 2000, 3), np.uint8), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * 1000 + b"\xff\xd9"


def half_a_gigabyte() -> bytes:
    return zlib.compress(bytes(1 << 29), 1)


def huge(compression: int) -> bytes:
    """20,000 x 20,000 pixels in one strip of a few bytes."""
    tags: Tags = {256: (4, [20_000]), 257: (4, [20_000]), 278: (4, [20_000])}
    return tiff(RGB, 8, compression=compression, tags=tags)


def shared_strips() -> bytes:
    tags, _ = tiff_page(picture(2000, 64), 8, rows_per_strip=1, compression=8)
    return tiff_file([({**tags, 273: (4, [8] * 2000), 279: (4, [MEGABYTE] * 2000)}, [half_a_gigabyte()])])


HUGE_HEADER = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
BOMBS: dict[str, Callable[[], bytes]] = {
    "4,000 tags on one megabyte": many_tags,
    "wanted tags of a million values": wanted_tags,
    "pages on the same bytes": overlapping_directories,
    "EXIF of four megabytes": long_exif,
    "90,000 empty chunks": lambda: png(RGB, 8, 2)[:33] + png_chunk(b"teXt", b"") * 90_000 + png(RGB, 8, 2)[33:],
    "100,000 empty chunks of WebP": lambda: webp_with(saved_by_pillow(RGB, "WEBP"), [(b"ABCD", b"")] * 99_990),
    "a text of half a gigabyte": lambda: png(RGB, 8, 2, before={b"zTXt": b"a\0\0" + half_a_gigabyte()}),
    "a profile of half a gigabyte": lambda: png(RGB, 8, 2, before={b"iCCP": b"a\0\0" + half_a_gigabyte()}),
    "1,000 scans": many_scans,
    "JPEG of 20,000 x 20,000": lambda: with_frame(jpeg(), {1: struct.pack(">HH", 20_000, 20_000)}),
    "PNG of 20,000 x 20,000": lambda: png(RGB, 8, 2)[:8] + HUGE_HEADER + png(RGB, 8, 2)[33:],
    "BMP of 20,000 x 20,000": lambda: bmp(b"\xff\0" * 99, 8, compression=1, palette=RGB[0], hw=(20_000, 20_000)),
    "TIFF of 20,000 x 20,000": lambda: huge(1),
    "TIFF of 20,000 x 20,000, LZW": lambda: huge(5),
    "TIFF of 20,000 x 20,000, Deflate": lambda: huge(8),
    "TIFF of 20,000 x 20,000, PackBits": lambda: huge(32773),
    "a tile of 16 million columns": lambda: tiff(
        RGB, 8, compression=8, tile_hw=(16, 64), tags={322: (4, [16_121_872])}
    ),
    "a strip that unpacks to half a gigabyte": lambda: tiff_file(
        [(tiff_page(RGB, 8, compression=8)[0], [half_a_gigabyte()])]
    ),
    "2,000 strips on the same megabyte": shared_strips,
}


CODE = """
import json, resource, sys, time
from pathlib import Path
from blemish.errors import ImageError
from blemish.images.decode import read_image, read_image_hw
outcome = {}
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
for read in (read_image_hw, read_image):
    start = time.process_time()
    try:
        read(Path(sys.argv[1]))
        fault = ""
    except ImageError as error:
        fault = str(error)
    outcome[read.__name__] = (time.process_time() - start, fault)
print(json.dumps({**outcome, "megabytes": peak() - before}))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no count of the largest memory of a process")
@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_costs_little_whatever_it_promises(name: str, tmp_path: Path) -> None:
    path = tmp_path / "part.bin"
    path.write_bytes(BOMBS[name]())
    done = subprocess.run([sys.executable, "-c", CODE, str(path)], capture_output=True, text=True, check=True)
    outcome = json.loads(done.stdout)
    assert outcome["megabytes"] <= MEGABYTES
    for read in ("read_image_hw", "read_image"):
        seconds, _ = outcome[read]
        assert seconds <= SECONDS, f"{read} took {seconds:.1f} s"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_the_limit_on_pixels_is_the_users_choice(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "part.bin"
    path.write_bytes(saved_by_pillow(RGB, kind))
    assert read_image(path, ReadSettings(max_pixels=40 * 56)).shape == (40, 56, 3)
    with pytest.raises(ImageError, match=r"part\.bin: 56 x 40 pixels; the limit is 0\.002239 million: .*--max-pixels"):
        read_image(path, ReadSettings(max_pixels=40 * 56 - 1))
    with pytest.raises(ImageError, match=r"the limit is 0\.002239 million"):
        as_image(RGB, ReadSettings(max_pixels=40 * 56 - 1))


@pytest.mark.parametrize("scans", [12, 64])
def test_as_many_scans_as_encoders_write_are_read(scans: int, tmp_path: Path) -> None:
    data = jpeg(progressive=True)
    last = data.rindex(b"\xff\xda")
    data = data[:-2] + data[last:-2] * (scans - data.count(b"\xff\xda")) + b"\xff\xd9"
    path = tmp_path / "part.jpg"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_image(path), by_pillow(data))
