"""Ordinary files give exactly the pixels that OpenCV gives by itself: what was read rightly before stays as it was."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from blemish.images.decode import read_image
from tests.images.writers import picture, saved_by_pillow

PARAMETERS = {
    ".png": [[], [cv2.IMWRITE_PNG_COMPRESSION, 0], [cv2.IMWRITE_PNG_COMPRESSION, 9]],
    ".jpg": [[], [cv2.IMWRITE_JPEG_QUALITY, 75], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]],
    ".bmp": [[]],
    ".tiff": [[cv2.IMWRITE_TIFF_COMPRESSION, number] for number in (1, 5, 8, 32773)],
    ".webp": [[], [cv2.IMWRITE_WEBP_QUALITY, 101], [cv2.IMWRITE_WEBP_QUALITY, 60]],
}
WRITTEN = [(suffix, tuple(given)) for suffix, choices in PARAMETERS.items() for given in choices]


def by_opencv(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize(("suffix", "parameters"), WRITTEN)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(64, 48), (33, 47), (301, 200)])
def test_files_written_by_opencv(
    suffix: str, parameters: tuple[int, ...], channels: int, height: int, width: int, tmp_path: Path
) -> None:
    noise = np.random.default_rng(height).integers(0, 9, (height, width, channels)).astype(np.uint8)
    pixels = picture(height, width, channels) // 2 + noise
    for depth in (np.uint8, np.uint16) if suffix in (".png", ".tiff") else (np.uint8,):
        path = tmp_path / f"part{suffix}"
        assert cv2.imwrite(str(path), pixels.astype(depth) * depth(257 if depth is np.uint16 else 1), list(parameters))
        np.testing.assert_array_equal(read_image(path), by_opencv(path))


@pytest.mark.parametrize(
    ("kind", "mode"), [*itertools.product(("PNG", "BMP", "TIFF"), ("L", "RGB")), ("JPEG", "L"), ("JPEG", "RGB")]
)
def test_files_written_by_pillow(kind: str, mode: str, tmp_path: Path) -> None:
    path = tmp_path / "part.bin"
    path.write_bytes(saved_by_pillow(PIL.Image.fromarray(picture(301, 200)).convert(mode), kind))
    np.testing.assert_array_equal(read_image(path), by_opencv(path))
