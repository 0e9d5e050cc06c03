"""Masks are read alike from every kind of file that people draw them in; what cannot be understood is refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from blemish.errors import ImageError
from blemish.images.mask import read_mask, read_mask_parts
from blemish.schema import Mask

DISC: Mask = np.hypot(*np.mgrid[-32:32, -48:48]) < 14


def encode(image: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def saved(folder: Path, data: bytes, name: str = "mask.png") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def gray(mask: Mask, value: int = 255, background: int = 0) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.where(mask, np.uint8(value), np.uint8(background)))


LOSSY: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG": ("JPEG", {"quality": 60}),
    "gray JPEG of low quality": ("JPEG", {"quality": 20}),
    "JPEG with coarse colors": ("JPEG", {"quality": 75, "subsampling": 2}),
    "progressive JPEG": ("JPEG", {"quality": 50, "progressive": True}),
    "WebP": ("WEBP", {"quality": 75}),
    "WebP of low quality": ("WEBP", {"quality": 20}),
    "JPEG in TIFF": ("TIFF", {"compression": "jpeg", "quality": 75}),
}


@pytest.mark.parametrize("how", LOSSY)
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("value", [255, 150])
def test_faint_pixels_of_a_mask_compressed_with_losses_do_not_count(
    how: str, mode: str, value: int, tmp_path: Path
) -> None:
    kind, options = LOSSY[how]
    path = saved(tmp_path, encode(gray(DISC, value).convert(mode), kind, **options))
    edge = np.asarray(cv2.morphologyEx(DISC.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)), bool)
    wrong = read_mask(path) != DISC
    assert not (wrong & ~edge).any(), "compression only moves the very edge"
    assert wrong.mean() < 0.01


@pytest.mark.parametrize("how", LOSSY)
def test_an_empty_mask_compressed_with_losses_is_empty(how: str, tmp_path: Path) -> None:
    kind, options = LOSSY[how]
    noise = np.random.default_rng(0).integers(0, 8, DISC.shape).astype(np.uint8)
    assert not read_mask(saved(tmp_path, encode(PIL.Image.fromarray(noise), kind, **options))).any()


def test_a_folder_of_compressed_masks_has_no_halos(tmp_path: Path) -> None:
    for number, offset in enumerate((0, 20)):
        saved(tmp_path, encode(gray(np.roll(DISC, offset, axis=1)), "JPEG", quality=75), f"{number:03}.jpg")
    expected = DISC | np.roll(DISC, 20, axis=1)
    assert abs(int(read_mask(tmp_path).sum()) - int(expected.sum())) < 20


def test_lossless_webp_and_tiff_keep_faint_marks(tmp_path: Path) -> None:
    for kind, options in (("WEBP", {"lossless": True}), ("TIFF", {"compression": "tiff_lzw"}), ("BMP", {})):
        path = saved(tmp_path, encode(gray(DISC, 1).convert("RGB"), kind, **options))
        np.testing.assert_array_equal(read_mask(path), DISC)


WITH_ALPHA: dict[str, tuple[str, dict[str, Any]]] = {
    "PNG": ("PNG", {}),
    "WebP": ("WEBP", {"lossless": True, "exact": True}),
    "lossy WebP": ("WEBP", {"quality": 80}),
    "TIFF": ("TIFF", {}),
}


def layers(color: tuple[int, int, int], alpha: NDArray[np.uint8]) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.dstack([np.full((*alpha.shape, 3), color, np.uint8), alpha]), "RGBA")


@pytest.mark.parametrize("how", WITH_ALPHA)
@pytest.mark.parametrize("color", [(255, 255, 255), (255, 0, 0), (0, 0, 0)])
@pytest.mark.parametrize("opacity", [255, 90])
def test_a_mask_drawn_in_transparency(how: str, color: tuple[int, int, int], opacity: int, tmp_path: Path) -> None:
    kind, options = WITH_ALPHA[how]
    path = saved(tmp_path, encode(layers(color, DISC * np.uint8(opacity)), kind, **options))
    np.testing.assert_array_equal(read_mask(path), DISC)


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255), (7, 80, 9)])
def test_a_color_painted_on_a_transparent_layer(background: tuple[int, int, int], tmp_path: Path) -> None:
    pixels = np.asarray(layers(background, DISC * np.uint8(255))).copy()
    pixels[DISC, :3] = (255, 0, 0)
    path = saved(tmp_path, encode(PIL.Image.fromarray(pixels, "RGBA"), "PNG"))
    np.testing.assert_array_equal(read_mask(path), DISC)


@pytest.mark.parametrize("alpha", [255, 0, 40])
def test_transparency_that_is_the_same_everywhere_means_nothing(alpha: int, tmp_path: Path) -> None:
    pixels = np.dstack([np.asarray(gray(DISC).convert("RGB")), np.full(DISC.shape, alpha, np.uint8)])
    path = saved(tmp_path, encode(PIL.Image.fromarray(pixels, "RGBA"), "PNG"))
    np.testing.assert_array_equal(read_mask(path), DISC)


def test_black_and_white_under_a_transparent_frame(tmp_path: Path) -> None:
    alpha = np.zeros(DISC.shape, np.uint8)
    alpha[8:-8, 8:-8] = 255
    pixels = np.dstack([np.asarray(gray(DISC).convert("RGB")), alpha])
    pixels[alpha == 0, :3] = 255  # what lies under transparent pixels is left over from something else
    path = saved(tmp_path, encode(PIL.Image.fromarray(pixels, "RGBA"), "PNG"))
    np.testing.assert_array_equal(read_mask(path), DISC)


def test_gray_with_transparency_and_sixteen_bits(tmp_path: Path) -> None:
    both = PIL.Image.fromarray(np.dstack([np.full(DISC.shape, 255, np.uint8), DISC * np.uint8(255)]), "LA")
    np.testing.assert_array_equal(read_mask(saved(tmp_path, encode(both, "PNG"))), DISC)
    deep = np.dstack([np.full((*DISC.shape, 3), 65535, np.uint16), DISC * np.uint16(65535)])
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_mask(tmp_path / "deep.tif"), DISC)
    path = saved(tmp_path, cv2.imencode(".png", deep)[1].tobytes())
    np.testing.assert_array_equal(read_mask(path), DISC)


def palette(colors: list[int], **options: Any) -> bytes:
    image = PIL.Image.fromarray(DISC.astype(np.uint8))
    image.putpalette(colors)
    return encode(image, "PNG", **options)


@pytest.mark.parametrize("color", [(255, 0, 0), (1, 1, 1), (255, 255, 255), (0, 0, 128)])
def test_a_palette_is_read_by_its_colors(color: tuple[int, int, int], tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_mask(saved(tmp_path, palette([0, 0, 0, *color]))), DISC)
    np.testing.assert_array_equal(read_mask(saved(tmp_path, palette([0, 0, 0, *color], transparency=0))), DISC)


def test_transparency_that_cannot_be_read_is_refused_where_all_else_says_nothing(tmp_path: Path) -> None:
    for path in (
        saved(tmp_path, palette([255, 255, 255, 255, 0, 0], transparency=0)),
        saved(
            tmp_path,
            encode(
                PIL.Image.fromarray(np.dstack([np.full(DISC.shape, 255, np.uint8), DISC * np.uint8(255)]), "LA"), "TIFF"
            ),
            "mask.tif",
        ),
    ):
        with pytest.raises(ImageError, match=f"{path.name}: its transparency cannot be read; save the mask in black"):
            read_mask(path)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    value=st.integers(1, 255),
    how=st.sampled_from(["gray", "color", "one bit", "alpha", "palette", "tiff", "bmp"]),
)
def test_the_way_a_mask_is_saved_does_not_matter(
    seed: int, value: int, how: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mask = np.random.default_rng(seed).random((19, 23)) < 0.3
    values = mask * np.uint8(value)
    images = {
        "gray": (PIL.Image.fromarray(values), "PNG"),
        "color": (PIL.Image.fromarray(np.dstack([values, values * 0, values * 0])), "PNG"),
        "one bit": (PIL.Image.fromarray(mask), "PNG"),
        "alpha": (layers((255, 255, 255), values), "PNG"),
        "palette": (PIL.Image.fromarray(values).convert("P"), "PNG"),
        "tiff": (PIL.Image.fromarray(values), "TIFF"),
        "bmp": (PIL.Image.fromarray(values), "BMP"),
    }
    image, kind = images[how]
    path = saved(tmp_path_factory.mktemp("mask"), encode(image, kind))
    np.testing.assert_array_equal(read_mask(path), mask)


@pytest.mark.parametrize("value", [1, 128, 255])
@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_mask_is_true_wherever_a_pixel_is_not_black(value: int, mode: str, tmp_path: Path) -> None:
    expected = np.zeros((30, 40), np.bool_)
    expected[5:9, 7:30] = True
    image = PIL.Image.fromarray(np.where(expected, np.uint8(value), np.uint8(0))).convert(mode)
    mask = read_mask(saved(tmp_path, encode(image, "PNG")))
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, expected)


def test_one_bit_and_sixteen_bit_masks(tmp_path: Path) -> None:
    expected = np.eye(20, dtype=np.bool_)
    one_bit = saved(tmp_path, encode(PIL.Image.fromarray(expected), "PNG"), "one.png")
    sixteen = saved(tmp_path, cv2.imencode(".png", expected.astype(np.uint16))[1].tobytes(), "sixteen.png")
    np.testing.assert_array_equal(read_mask(one_bit), expected)
    np.testing.assert_array_equal(read_mask(sixteen), expected)


def test_a_mask_may_be_smaller_than_an_image(tmp_path: Path) -> None:
    assert read_mask(saved(tmp_path, encode(PIL.Image.new("L", (1, 1), 255), "PNG"))).tolist() == [[True]]


def test_a_folder_of_masks_is_their_union(tmp_path: Path) -> None:
    first, second = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    first[2, 3] = 255
    second[4, 5] = 7
    for name, mask in (("000.png", first), ("001.png", second)):
        saved(tmp_path, encode(PIL.Image.fromarray(mask), "PNG"), name)
    saved(tmp_path, b"not a mask", "readme.txt")
    saved(tmp_path, b"left by a file manager", "._000.png")
    assert np.argwhere(read_mask(tmp_path)).tolist() == [[2, 3], [4, 5]]
    parts = read_mask_parts(tmp_path)
    np.testing.assert_array_equal(parts[0], first)
    np.testing.assert_array_equal(parts[1], second)
    np.testing.assert_array_equal(read_mask_parts(tmp_path / "001.png")[0], second)


def test_an_empty_folder_and_masks_of_several_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="holds no mask"):
        read_mask(tmp_path)
    for name, size in (("000.png", 20), ("001.png", 30)):
        saved(tmp_path, encode(PIL.Image.new("L", (size, size)), "PNG"), name)
    with pytest.raises(ImageError, match="differ in size"):
        read_mask(tmp_path)
