"""Masks beside images are known by name and look; photographs with such names stay images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blemish.datasets.beside import file_looks_like_mask, looks_like_mask, masks_beside, stem_of_image
from blemish.datasets.listing import list_images

DISC = (np.hypot(*np.mgrid[-40:40, -40:40]) < 12).astype(np.uint8)
NOISE = np.random.default_rng(0)


def photograph(path: Path, seed: int = 0) -> None:
    pixels = np.random.default_rng(seed).normal(120, 30, (80, 80, 3)).clip(0, 255).astype(np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())


def mask(path: Path, value: int = 255) -> None:
    path.write_bytes(cv2.imencode(path.suffix, DISC * np.uint8(value))[1].tobytes())


@pytest.mark.parametrize("mark", ["_mask", "_label", "_GT", "_gt", "-mask", "_seg", ".mask", "_ground_truth", "_MASK"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_masks_by_their_mark(mark: str, suffix: str, tmp_path: Path) -> None:
    for number in range(3):
        photograph(tmp_path / f"{number}.png", number)
        mask(tmp_path / f"{number}{mark}{suffix}")
    found = list_images([tmp_path])
    assert [path.name for path in found.images] == ["0.png", "1.png", "2.png"]
    assert Counter(item.reason for item in found.left_out) == {"mask": 3}


@pytest.mark.parametrize("value", [0, 1, 255])
def test_masks_with_the_stem_of_their_image(value: int, tmp_path: Path) -> None:
    for number in range(3):
        photograph(tmp_path / f"{number}.jpg", number)
        mask(tmp_path / f"{number}.png", value)
    assert [path.name for path in list_images([tmp_path]).images] == ["0.jpg", "1.jpg", "2.jpg"]


def test_two_photographs_are_two_images_whatever_their_names(tmp_path: Path) -> None:
    for name in ("1.jpg", "1.bmp", "1_label.png", "mask_1.png"):
        photograph(tmp_path / name)
    assert list_images([tmp_path]).left_out == ()


def test_a_two_valued_picture_without_a_partner_is_an_image(tmp_path: Path) -> None:
    mask(tmp_path / "backlit.png")
    mask(tmp_path / "backlit_2.png")
    mask(tmp_path / "alone_mask.png")
    mask(tmp_path / "shadow.png")
    mask(tmp_path / "shadow.bmp")  # both look like masks: which is the image?
    assert len(list_images([tmp_path]).images) == 5


def test_where_only_some_pairs_are_image_and_mask_each_is_looked_at(tmp_path: Path) -> None:
    for number in range(20):
        photograph(tmp_path / f"{number}.jpg", number)
        (photograph if number % 2 else mask)(tmp_path / f"{number}.png")
    found = list_images([tmp_path])
    assert {item.path.name for item in found.left_out} == {f"{number}.png" for number in range(0, 20, 2)}


def test_few_pairs_are_looked_at_however_many_there_are() -> None:
    looked: Counter[str] = Counter()

    def look(name: str) -> bool:
        looked[name] += 1
        return name.endswith("png")

    names = [f"{number}.{suffix}" for number in range(5000) for suffix in ("png", "jpg")]
    assert len(masks_beside(names, look)) == 5000
    assert looked.total() < 60


@given(st.lists(st.text("ab1_", min_size=1, max_size=4), unique=True, max_size=12))
def test_a_mask_has_an_image_that_is_none(stems: list[str]) -> None:
    names = [f"{stem}{mark}" for stem in stems for mark in (".jpg", "_mask.png")]
    found = masks_beside(names, lambda name: name.endswith(".png"))
    assert set(found) <= set(names)
    assert not set(found) & set(found.values())
    assert all(name.endswith(".png") for name in found)


@pytest.mark.parametrize(
    ("stem", "image"),
    [("1_mask", "1"), ("1_GT", "1"), ("a.b-label", "a.b"), ("mask_1", "1"), ("1", ""), ("mask", ""), ("unmasked", "")],
)
def test_the_image_that_a_name_speaks_of(stem: str, image: str) -> None:
    assert stem_of_image(stem) == image


def test_the_look_of_a_mask(tmp_path: Path) -> None:
    compressed = cv2.imdecode(cv2.imencode(".jpg", DISC * 255, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_GRAYSCALE)
    classes = DISC * np.uint8(3)
    classes[60:, :40] = 2
    classes[60:, 40:] = 1
    color = np.dstack([DISC * 200, DISC * 0, DISC * 0])
    for pixels in (DISC, DISC * 255, compressed, classes, color, DISC * np.uint16(65535), np.zeros((9, 9), np.uint8)):
        assert looks_like_mask(pixels)
    dim = NOISE.normal(30, 4, (80, 80)).astype(np.uint8)
    ramp = np.arange(6400, dtype=np.uint16).reshape(80, 80)
    bright = NOISE.normal(120, 20, (80, 80)).astype(np.uint8)
    for pixels in (dim, bright, ramp, NOISE.random((80, 80)).astype(np.float32)):
        assert not looks_like_mask(pixels)
    (tmp_path / "broken_mask.png").write_bytes(b"nothing")
    assert not file_looks_like_mask(tmp_path / "broken_mask.png")
