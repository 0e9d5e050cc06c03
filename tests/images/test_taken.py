"""Every way in which a Python program holds an image gives the same pixels, or an error that says what to do."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as PilImage

from blemish.errors import ImageError, SettingsError
from blemish.images.decode import as_image, read_image
from blemish.images.taken import is_batch, load_image

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (40, 56, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (40, 56), dtype=np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "part.png"
    assert cv2.imwrite(str(place), RGB[..., ::-1])
    return place


def test_a_path_its_bytes_an_open_file_an_array_and_a_pil_image_are_the_same(path: Path) -> None:
    with path.open("rb") as file:
        forms: list[Any] = [
            path,
            str(path),
            path.read_bytes(),
            bytearray(path.read_bytes()),
            memoryview(path.read_bytes()),
            file,
            io.BytesIO(path.read_bytes()),
            RGB,
            PilImage.open(path),
            PilImage.fromarray(RGB),
        ]
        for form in forms:
            np.testing.assert_array_equal(load_image(form), RGB)
    np.testing.assert_array_equal(load_image(cv2.imread(str(path)), channels="bgr"), RGB)


@given(arrays(np.uint8, st.tuples(st.integers(16, 20), st.integers(16, 20), st.sampled_from([3, 4]))))
@settings(max_examples=25)
def test_bgr_is_rgb_turned_around_and_the_given_array_stays_as_it_is(array: np.ndarray) -> None:
    before = array.copy()
    turned = np.concatenate([array[..., 2::-1], array[..., 3:]], axis=2)
    np.testing.assert_array_equal(load_image(array, channels="bgr"), load_image(turned))
    np.testing.assert_array_equal(array, before)


def test_gray_has_no_order_of_channels() -> None:
    np.testing.assert_array_equal(load_image(GRAY, channels="bgr"), as_image(GRAY))


@pytest.mark.parametrize("mode", ["1", "L", "P", "PA", "LA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "F", "I"])
def test_every_mode_of_pil_is_taken(mode: str) -> None:
    if mode == "F":
        image = PilImage.fromarray(GRAY.astype(np.float32) / 255)
    elif mode == "I":
        image = PilImage.fromarray(GRAY.astype(np.int32) * 257)
    elif mode == "PA":
        image = PilImage.fromarray(RGB).convert("P").convert("PA")
    elif mode == "RGBa":
        image = PilImage.fromarray(RGB).convert("RGBA").convert("RGBa")
    else:
        image = PilImage.fromarray(RGB).convert(mode)
    assert image.mode == mode
    found = load_image(image)
    assert (found.shape, found.dtype) == ((40, 56, 3), np.uint8)
    if mode in ("F", "I"):
        np.testing.assert_array_equal(found[..., 0], GRAY)
    if mode in ("RGBA", "RGBa"):
        np.testing.assert_array_equal(found, RGB)


def test_transparency_is_dropped_as_for_files() -> None:
    alpha = np.dstack([RGB, np.zeros((40, 56), np.uint8)])
    np.testing.assert_array_equal(load_image(PilImage.fromarray(alpha)), RGB)


def test_16_bit_files_are_the_same_by_way_of_pil(tmp_path: Path) -> None:
    values = RNG.integers(0, 65536, (40, 56), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), values)
    with PilImage.open(tmp_path / "deep.png") as image:
        np.testing.assert_array_equal(load_image(image), read_image(tmp_path / "deep.png"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_upright_by_way_of_pil(tmp_path: Path, orientation: int) -> None:
    exif = PilImage.Exif()
    exif[0x0112] = orientation
    PilImage.fromarray(RGB).save(tmp_path / "turned.png", exif=exif)
    with PilImage.open(tmp_path / "turned.png") as image:
        np.testing.assert_array_equal(load_image(image), read_image(tmp_path / "turned.png"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "cv2.imread gives None where it cannot read a file"),
        ([1, 2, 3], "a list in place of one image"),
        (5, "cannot be taken from a int"),
        (io.StringIO("text"), "open it with 'rb'"),
        (io.BytesIO(), "nothing is left to read"),
        (b"no image", "not a PNG, JPEG"),
        (np.zeros((3, 40, 56), np.uint8), "move the channels to the end"),
    ],
    ids=lambda given: type(given).__name__,
)
def test_what_is_no_image_is_refused_with_what_to_do(given: Any, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        load_image(given)


def test_an_array_of_another_library_that_cannot_be_read_is_named() -> None:
    class OnDevice:
        def __array__(self, *_: object, **__: object) -> np.ndarray:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")

    with pytest.raises(ImageError, match=r"OnDevice gives no NumPy array \(can't convert cuda"):
        load_image(OnDevice())


def test_the_order_of_channels_is_checked() -> None:
    with pytest.raises(SettingsError, match="use 'rgb' or 'bgr'"):
        load_image(RGB, channels="grb")  # type: ignore[arg-type]


def test_a_cut_off_pil_image_is_an_image_error(path: Path) -> None:
    with PilImage.open(io.BytesIO(path.read_bytes()[:-800])) as image, pytest.raises(ImageError, match="PIL cannot"):
        load_image(image)


def test_lists_tuples_and_stacks_are_batches() -> None:
    assert is_batch([RGB])
    assert is_batch((RGB,))
    assert is_batch(np.stack([RGB, RGB]))
    assert not is_batch(RGB)
    assert not is_batch("part.png")
