"""Whatever bytes a file holds, reading it gives pixels or one clear error, in bounded time and memory."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blemish.errors import ImageError
from blemish.images.decode import decode_image, read_image_hw
from blemish.schema import ReadSettings
from tests.images.bmp_webp_rows import FIELDS, colors_of, with_fields
from tests.images.writers import bmp, exif, picture, png, saved_by_pillow, tiff, tiff_file, tiff_page, values, webp_with

pytestmark = pytest.mark.filterwarnings("ignore::blemish.errors.PageWarning")
SIDE = 24
SMALL = picture(SIDE, SIDE)
READING = ReadSettings(max_pixels=200_000)
"""A damaged size shall not cost memory here."""
SECONDS = 2.0


def seeds() -> dict[str, list[bytes]]:
    """Small whole files of every container and of many kinds of each."""
    image = PIL.Image.fromarray(SMALL)
    gray = picture(SIDE, SIDE, 1)
    wide, floats = SMALL.astype(np.uint16) * 257, (SMALL / 255).astype(np.float32)
    inks = image.convert("CMYK")
    thumbnail = tiff_page(picture(8, 8), 8, tags={254: (4, [1])})
    lines, _ = with_fields(FIELDS[32][5], 32)
    runs = (bytes([SIDE, 7]) + b"\0\0") * SIDE + b"\0\1"
    frames = {"save_all": True, "append_images": [PIL.Image.fromarray(picture(SIDE, SIDE, seed=1))]}
    return {
        "PNG": [
            png(SMALL, 8, 2, before={b"eXIf": exif(6)}),
            png(wide, 16, 2, behind={b"eXIf": exif(3, ">")}),
            png(gray >> 4, 4, 3, before={b"PLTE": colors_of(4).tobytes(), b"tRNS": b"\0"}, is_interlaced=True),
            saved_by_pillow(SMALL, "PNG", **frames),
        ],
        "JPEG": [
            saved_by_pillow(image, "JPEG", exif=b"Exif\0\0" + exif(8)),
            saved_by_pillow(image, "JPEG", progressive=True, restart_marker_rows=1),
            saved_by_pillow(image.convert("L"), "JPEG", restart_marker_blocks=1),
            saved_by_pillow(inks, "JPEG"),
        ],
        "BMP": [
            bmp([line.tobytes() for line in SMALL], 24, hw=(SIDE, SIDE)),
            bmp(lines[:SIDE], 32, header_size=124, compression=3, masks=(*FIELDS[32][5], 0), hw=(SIDE, SIDE)),
            bmp(runs, 8, compression=1, palette=colors_of(8), hw=(SIDE, SIDE)),
            saved_by_pillow(image.convert("P"), "BMP"),
        ],
        "TIFF": [
            tiff(SMALL, 8, rows_per_strip=5),
            tiff(wide, 16, planar=2, compression=5, predictor=2, order=">"),
            tiff(floats, 32, compression=8, predictor=3, tile_hw=(16, 16)),
            tiff(gray >> 4, 4, photometric=3, compression=32773, tags={320: (3, colors_of(4).T.ravel().tolist())}),
            tiff_file([thumbnail, tiff_page(SMALL, 8), tiff_page(gray, 8)], is_big=True),
            saved_by_pillow(image, "TIFF", compression="jpeg"),
            saved_by_pillow(image.convert("1"), "TIFF", compression="group4"),
            saved_by_pillow(image.convert("YCbCr"), "TIFF"),
            tiff(values(12, 1)[:SIDE, :SIDE], 12, is_bit_reversed=True),
            tiff(np.asarray(inks), 8, photometric=5),
        ],
        "WebP": [
            webp_with(saved_by_pillow(image, "WEBP", lossless=True), [(b"EXIF", exif(5))]),
            saved_by_pillow(image, "WEBP", exif=exif(7)),
            saved_by_pillow(SMALL, "WEBP", **frames),
        ],
    }


SEEDS = seeds()


def mutated(data: bytes, random_: random.Random) -> bytes:
    """The file with one to six changes of the kinds that faults and attackers make; mostly in its first bytes."""
    content = bytearray(data)
    for _ in range(random_.randint(1, 6)):
        if not content:
            break
        place = random_.randrange(len(content)) if random_.random() < 0.4 else random_.randrange(min(len(content), 200))
        kind = random_.randrange(7)
        if kind == 0:
            content[place] = random_.randrange(256)
        elif kind == 1:
            content[place] ^= 1 << random_.randrange(8)
        elif kind == 2:  # a number of 2 or 4 bytes, of the sizes that overflow something
            number = random_.choice((0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, len(content)))
            raw = struct.pack(random_.choice((">I", "<I")), number)
            raw = raw if random_.random() < 0.5 else raw[-2:]
            content[place : place + len(raw)] = raw
        elif kind == 3:
            del content[place : place + random_.randint(1, 40)]
        elif kind == 4:
            content[place:place] = content[place : place + random_.randint(1, 40)]
        elif kind == 5:
            del content[place:]
        else:
            content += random_.choice((b"\xff\xd9", bytes(50), data[: random_.randrange(len(data))]))
    return bytes(content)


@pytest.mark.parametrize("container", sorted(SEEDS))
@settings(max_examples=700, deadline=None, suppress_health_check=list(HealthCheck))
@given(choice=st.integers(0, 9), random_=st.randoms(use_true_random=False), page=st.sampled_from((None, 1, 2)))
def test_damage_of_any_kind_gives_pixels_or_one_error(
    container: str, choice: int, random_: random.Random, page: int | None, tmp_path_factory: Any
) -> None:
    seeds = SEEDS[container]
    data = mutated(seeds[choice % len(seeds)], random_)
    reading = ReadSettings(page=page, max_pixels=READING.max_pixels)
    path: Path = tmp_path_factory.getbasetemp() / "fuzz.bin"
    path.write_bytes(data)
    start = time.process_time()
    hw, image, faults = None, None, []
    try:
        hw = read_image_hw(path, reading)
    except ImageError as error:
        faults.append(str(error))
    try:
        image = decode_image(data, str(path), reading)
    except ImageError as error:
        faults.append(str(error))
    assert time.process_time() - start <= SECONDS
    for fault in faults:
        assert fault.startswith(f"{path}: ")
        assert "\n" not in fault
    if image is not None:
        assert image.dtype == np.uint8
        assert image.shape[:2] == hw
        assert image.shape[2] == 3


def test_every_seed_is_read() -> None:
    for container, files in SEEDS.items():
        for number, data in enumerate(files):
            assert decode_image(data, f"{container} {number}").shape == (SIDE, SIDE, 3)
