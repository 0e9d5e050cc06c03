"""Images are read when asked for, all of one size, in memory only up to a limit."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from blemish.datasets import sequence
from blemish.datasets.sequence import ResizedImages, find_unreadable, read_image_sizes
from blemish.errors import ImageError
from blemish.images.decode import read_image
from blemish.images.resize import resize_image
from blemish.schema import ReadSettings

HW = (32, 48)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    paths = []
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (40 + number, 60, 3)).astype(np.uint8)
        path = tmp_path / f"{number:02}.png"
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        paths.append(path)
    return paths


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files decoded so far."""
    seen: list[Path] = []

    def read_and_note(path: Path, *reading: ReadSettings) -> np.ndarray:
        seen.append(path)
        return read_image(path, *reading)

    monkeypatch.setattr(sequence, "read_image", read_and_note)
    return seen


def test_each_image_is_the_file_resized(paths: list[Path]) -> None:
    images = ResizedImages(paths, HW)
    assert len(images) == 12
    for image, path in zip(images, paths, strict=True):
        np.testing.assert_array_equal(image, resize_image(read_image(path), HW))
    np.testing.assert_array_equal(images[-1], images[11])
    with pytest.raises(IndexError):
        images[12]


def test_nothing_is_decoded_before_it_is_asked_for_and_nothing_twice(paths: list[Path], decoded: list[Path]) -> None:
    images = ResizedImages(paths, HW)
    assert decoded == []
    first = images[3]
    assert decoded == [paths[3]]
    assert images[3] is first
    assert [image.shape for image in images] == [(*HW, 3)] * 12
    list(images)
    assert sorted(decoded) == paths


def test_memory_is_limited_and_what_is_left_out_is_read_again(paths: list[Path], decoded: list[Path]) -> None:
    images = ResizedImages(paths, HW, cache_bytes=4 * HW[0] * HW[1] * 3)
    first, second = list(images), list(images)
    assert len(decoded) == 12 + 8
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_walk_that_stops_early_decodes_only_a_little_ahead(paths: list[Path], decoded: list[Path]) -> None:
    many = ResizedImages(paths * 20, HW)
    for number, _ in enumerate(many):
        if number == 5:
            break
    assert len(decoded) < 40


def test_a_subset_shares_what_is_decoded(paths: list[Path], decoded: list[Path]) -> None:
    images = ResizedImages(paths, HW)
    part = images.subset(np.array([7, 2]))
    assert isinstance(part, ResizedImages)
    assert part[0] is images[7]
    assert part[1] is images[2]
    assert images[2:9:5][1] is images[7]
    assert part.subset([1])[0] is images[2]
    assert decoded == [paths[7], paths[2]]


def test_images_cannot_be_written_to_and_given_arrays_stay_writable() -> None:
    array = np.zeros((*HW, 3), np.uint8)
    images = ResizedImages([array], HW)
    with pytest.raises(ValueError, match="read-only"):
        images[0][0, 0] = 1
    array[0, 0] = 1


def test_an_unreadable_file_raises_when_its_turn_comes(paths: list[Path]) -> None:
    paths[5].write_bytes(paths[5].read_bytes()[:500])
    images = ResizedImages(paths, HW)
    seen = []
    with pytest.raises(ImageError, match=r"05\.png: the file is cut off"):
        seen.extend(images)
    assert images[6].shape == (*HW, 3)


def test_unreadable_files_are_found_with_their_reasons(paths: list[Path]) -> None:
    paths[2].write_bytes(b"text")
    paths[9].unlink()
    steps: list[tuple[str, int, int]] = []
    found = find_unreadable(paths, lambda *step: steps.append(step))
    assert [path for path, _ in found] == [paths[2], paths[9]]
    assert "this is not a PNG" in found[0][1]
    assert "no such file" in found[1][1]
    assert [done for _, done, _ in steps] == list(range(1, 13))
    assert find_unreadable([]) == ()


def test_sizes_are_read_without_decoding(paths: list[Path], decoded: list[Path]) -> None:
    assert read_image_sizes(paths) == tuple((40 + number, 60) for number in range(12))
    assert decoded == []
