"""What image files do not say of themselves: bits of a camera, the page; the bundle keeps both."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from blemish.bundle.manifest import Manifest
from blemish.datasets.check import check_dataset
from blemish.errors import ImageError, PageWarning, SettingsError
from blemish.images.decode import as_image, read_image, read_image_facts, read_image_hw
from blemish.model import Model, load, train
from blemish.schema import ReadSettings
from blemish.workflow.calibrate import CalibrateRequest, calibrate_bundle
from blemish.workflow.verify import check_images
from tests.images.writers import HW, eight_bit, picture, png, tiff, tiff_file, tiff_page, values

CAMERAS = (10, 12, 14)


def unshifted(bits: int, seed: int = 0) -> NDArray[np.uint16]:
    """What a camera of so many bits writes into 16: gray, its values from 0 to the largest."""
    blobs = picture(channels=1, seed=seed)[..., 0].astype(float)
    share = (blobs - blobs.min()) / np.ptp(blobs)
    return np.rint(share * (2**bits - 1)).astype(np.uint16)


def written(folder: Path, number: int, bits: int, suffix: str = ".png") -> Path:
    path = folder / f"{number:03}{suffix}"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(suffix, unshifted(bits, number))[1].tobytes())
    return path


# ---- bits


@pytest.mark.parametrize("bits", [8, 9, *CAMERAS, 16])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_the_largest_value_of_so_many_bits_is_white(bits: int, suffix: str, tmp_path: Path) -> None:
    path = written(tmp_path, 0, bits, suffix)
    expected = eight_bit(unshifted(bits)[..., None], bits)
    np.testing.assert_array_equal(read_image(path, ReadSettings(bits=bits)), expected)
    np.testing.assert_array_equal(as_image(unshifted(bits), ReadSettings(bits=bits)), expected)
    assert read_image(path, ReadSettings(bits=bits)).max() == 255


def test_color_of_twelve_bits() -> None:
    color = np.rint(picture() / 255 * 4095).astype(np.uint16)
    np.testing.assert_array_equal(as_image(color, ReadSettings(bits=12)), eight_bit(color, 12))


def test_a_value_beyond_the_bits_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = written(tmp_path, 0, 12)
    with pytest.raises(ImageError, match=r"000\.png: it holds the value 4095, but values of 10 bits end at 1023"):
        read_image(path, ReadSettings(bits=10))


@pytest.mark.parametrize(
    "data", [png(picture(), 8, 2), tiff(values(12, 3), 12), tiff(values(16, 3, "f"), 16)], ids=["8", "12 told", "float"]
)
def test_files_that_say_what_they_hold_are_read_as_they_say(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "part.bin"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_image(path, ReadSettings(bits=12)), read_image(path))


@pytest.mark.parametrize("wrong", [{"bits": 7}, {"bits": 17}, {"page": 0}, {"max_pixels": 0}])
def test_impossible_settings_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError):
        ReadSettings(**wrong)


@pytest.fixture(scope="module", params=CAMERAS)
def camera(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path, Model]:
    """Bits, a folder of images of such a camera, and a model trained on it."""
    folder = tmp_path_factory.mktemp("camera")
    for number in range(6):
        written(folder, number, request.param)
    reading = ReadSettings(bits=request.param)
    return request.param, folder, train(folder, detector="template", size=64, reading=reading)


def test_the_bundle_keeps_the_bits_and_what_is_done_with_it_follows(
    camera: tuple[int, Path, Model], tmp_path: Path
) -> None:
    bits, folder, model = camera
    loaded = load(model.save(tmp_path / "part.blemish"))
    assert loaded.bundle.manifest.bits == bits
    assert loaded.bundle.manifest.format_version == 4
    assert loaded.bundle.bundle_id == model.bundle.bundle_id
    assert replace(model.bundle, manifest=model.bundle.manifest.model_copy(update={"bits": None})).bundle_id != (
        model.bundle.bundle_id
    )
    path = folder / "000.png"
    eight = eight_bit(unshifted(bits)[..., None], bits)
    expected = loaded.inspect(eight).score
    assert loaded.inspect(path).score == expected
    assert loaded.inspect(unshifted(bits)).score == expected
    [(_, verdict)] = loaded.inspect_files(path)
    assert not isinstance(verdict, ImageError)
    assert verdict.score == expected
    [image] = check_images(loaded.bundle, [path]).images
    assert image.max() > 200
    other = written(tmp_path, 9, bits)
    good = [other, written(tmp_path, 10, bits)]
    calibrated = calibrate_bundle(loaded.bundle, CalibrateRequest(good=good))
    scores = sorted(loaded.inspect(path).score for path in good)
    assert calibrated.calibration.good_scores == pytest.approx(scores)


def test_other_bits_than_the_bundles_are_refused(camera: tuple[int, Path, Model]) -> None:
    bits, _, model = camera
    with pytest.raises(SettingsError, match=f"11 bits: the bundle was trained on values of {bits} bits"):
        Model(model.bundle, reading=ReadSettings(bits=11)).inspect(unshifted(10))
    assert model.bundle.manifest.reading(ReadSettings(bits=bits, max_pixels=7)) == ReadSettings(bits, None, 7)


def test_a_bundle_without_bits_stays_as_old_readers_know_it(model: Model) -> None:
    facts = json.loads(model.bundle.manifest.to_json())
    assert not {"bits", "page", "tiling"} & set(facts)
    assert model.bundle.manifest.version_needed == 1


@pytest.mark.parametrize("wrong", [{"bits": 3}, {"bits": 99}, {"page": 0}, {"page": -2}])
def test_a_manifest_with_impossible_bits_or_page_is_refused(wrong: dict[str, int], model: Model) -> None:
    facts: dict[str, Any] = {**model.bundle.manifest.model_dump(), "format_version": 4, **wrong}
    with pytest.raises(ValueError, match=r"bits|page"):
        Manifest.model_validate(facts)
    with pytest.raises(ValueError, match="bits or a page in a bundle of format version 3"):
        Manifest.model_validate({**facts, "format_version": 3, "bits": 12, "page": 1})


@pytest.mark.parametrize("bits", CAMERAS)
def test_data_check_names_the_option(bits: int, tmp_path: Path) -> None:
    for number in range(4):
        written(tmp_path, number, bits)
    found = {finding.code: finding.message for finding in check_dataset(tmp_path)}
    assert f"if the camera has {bits} bits, give --bits {bits}" in found["nearly_black"]
    assert "one_color" not in found
    assert "nearly_black" not in {finding.code for finding in check_dataset(tmp_path, reading=ReadSettings(bits=bits))}


# ---- pages


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A thumbnail, then three pages."""
    thumbnail = tiff_page(picture(24, 24), 8, tags={254: (4, [1])})
    path = tmp_path / "views.tif"
    path.write_bytes(tiff_file([thumbnail, *(tiff_page(picture(40 + 8 * n, 56, seed=n), 8) for n in range(3))]))
    return path


@pytest.mark.parametrize("page", [1, 2, 3])
def test_the_page_asked_for_is_read_and_thumbnails_do_not_count(page: int, pages: Path) -> None:
    reading = ReadSettings(page=page)
    np.testing.assert_array_equal(read_image(pages, reading), picture(32 + 8 * page, 56, seed=page - 1))
    assert read_image_hw(pages, reading) == (32 + 8 * page, 56)
    assert read_image_facts(pages, reading).num_pages == 3


def test_the_first_page_is_taken_with_a_warning(pages: Path) -> None:
    with pytest.warns(PageWarning, match="the first of each is taken; choose another with --page"):
        np.testing.assert_array_equal(read_image(pages), picture(seed=0))


def test_a_page_that_is_not_there_is_refused_by_name(pages: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"views\.tif: there is no page 4: it has 3"):
        read_image(pages, ReadSettings(page=4))
    single = tmp_path / "part.png"
    single.write_bytes(png(picture(), 8, 2))
    with pytest.raises(ImageError, match=r"part\.png: there is no page 2: of a PNG file the first image is read"):
        read_image(single, ReadSettings(page=2))
    assert read_image(single, ReadSettings(page=1)).shape == (*HW, 3)


def test_a_run_says_once_which_page_was_taken(tmp_path: Path, bundle_path: Path, run: Callable[..., Any]) -> None:
    for number in range(5):
        pages = [tiff_page(picture(64, 64, seed=number + place), 8) for place in range(2)]
        (tmp_path / f"{number}.tif").write_bytes(tiff_file(pages))
    done = run("inspect", bundle_path, tmp_path)
    assert len(done.stdout.splitlines()) == 5
    assert done.stderr.count("the first of each is taken") == 1
    assert "is taken" not in run("inspect", bundle_path, tmp_path, "--page", "2").stderr
    assert "5 files hold several pages" in run("data", "check", tmp_path).stdout


def test_the_page_is_kept_in_the_bundle_and_may_be_given_anew(tmp_path: Path) -> None:
    folder = tmp_path / "good"
    folder.mkdir()
    for number in range(4):
        pages = [tiff_page(picture(64, 64, seed=number + 10 * place), 8) for place in range(2)]
        (folder / f"{number}.tif").write_bytes(tiff_file(pages))
    model = train(folder, detector="template", size=64, reading=ReadSettings(page=2))
    path = folder / "0.tif"
    assert model.inspect(path).score == model.inspect(picture(64, 64, seed=10)).score
    saved = model.save(tmp_path / "part.blemish")
    assert load(saved).inspect(path).score == model.inspect(path).score
    first = load(saved, reading=ReadSettings(page=1))
    assert first.inspect(path).score == model.inspect(picture(64, 64, seed=0)).score
