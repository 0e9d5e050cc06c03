"""A mask is as large as its image and belongs to it alone; what is odd about it is told."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blemish.datasets.check import check_dataset
from blemish.datasets.index import open_dataset
from blemish.datasets.mask_fit import MaskReader, read_fitting_mask, shared_masks
from blemish.errors import DataError
from blemish.schema import ImageItem


def write_mask(path: Path, hw: tuple[int, int] = (40, 48), *, inverted: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(hw, np.uint8)
    mask[4:12, 4:12] = 255
    path.write_bytes(cv2.imencode(path.suffix, 255 - mask if inverted else mask)[1].tobytes())
    return path


def write_image(path: Path, seed: int, hw: tuple[int, int] = (40, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*hw, 3)).astype(np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "part"
    for number in range(20):
        write_image(root / "train" / "good" / f"{number}.png", number)
    for number in range(3):
        write_image(root / "test" / "good" / f"{number}.png", 100 + number)
        write_image(root / "test" / "dent" / f"{number}.png", 200 + number)
        write_mask(root / "ground_truth" / "dent" / f"{number}_mask.png")
    return root


@given(st.integers(-1, 1), st.integers(-1, 1))
def test_a_pixel_more_or_less_is_cut(more_rows: int, more_columns: int) -> None:
    image_hw = (40, 48)
    with pytest.MonkeyPatch.context() as patch:
        values = np.zeros((40 + more_rows, 48 + more_columns), np.uint8)
        values[10:, 10:] = 255
        patch.setattr("blemish.datasets.mask_fit.read_mask_parts", lambda path: (values,))
        found = read_fitting_mask(Path("0_mask.png"), Path("0.png"), image_hw)
    assert found.is_cut == ((more_rows, more_columns) != (0, 0))
    expected = np.zeros(image_hw, bool)
    expected[10:, 10:] = True
    np.testing.assert_array_equal(found.mask, expected)


@pytest.mark.parametrize(
    ("hw", "reason"),
    [
        ((48, 40), "turn the mask"),
        ((42, 48), "at its full size"),
        ((20, 24), "at its full size"),
        ((1, 1), "full size"),
    ],
)
def test_a_mask_of_another_size_is_an_error_that_names_both_files(
    hw: tuple[int, int], reason: str, tmp_path: Path
) -> None:
    path = write_mask(tmp_path / "0_mask.png", hw)
    with pytest.raises(DataError, match=rf"0_mask\.png: the mask is {hw[1]} x {hw[0]} .*test/0\.png.*{reason}"):
        read_fitting_mask(path, Path("test/0.png"), (40, 48))


def test_a_mask_over_most_of_its_image_is_used_and_told(tmp_path: Path) -> None:
    items = []
    for number in range(3):
        path = write_mask(tmp_path / f"{number}_mask.png", inverted=number > 0)
        items.append(ImageItem(tmp_path / f"{number}.png", "test", 1, "dent", path))
    reader = MaskReader(items)
    assert reader.notes == ()
    masks = [reader.read(item, (40, 48)) for item in items]
    assert [mask is not None and mask.sum() for mask in masks] == [64, 1920 - 64, 1920 - 64]
    assert reader.notes == (
        f"2 masks cover more than half of their images, the first {items[1].mask_path}; look whether black and white "
        "are exchanged, since all that is not black marks the defect",
    )


def test_a_mask_that_was_once_a_jpeg_is_told(tmp_path: Path) -> None:
    path = write_mask(tmp_path / "0_mask.jpg", (64, 64))
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    path = tmp_path / "0_mask.png"
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    assert read_fitting_mask(path, Path("0.png"), (64, 64)).is_faint
    smooth = cv2.GaussianBlur(np.pad(np.full((24, 24), 255, np.uint8), 20), (3, 3), 0)
    path.write_bytes(cv2.imencode(".png", smooth)[1].tobytes())
    assert not read_fitting_mask(path, Path("0.png"), (64, 64)).is_faint
    path.write_bytes(cv2.imencode(".png", smooth // 64)[1].tobytes())  # numbers of classes
    assert not read_fitting_mask(path, Path("0.png"), (64, 64)).is_faint


def test_a_mask_belongs_to_one_image(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "0_mask.png")
    items = [ImageItem(tmp_path / name, "test", 1, "dent", mask) for name in ("0.png", "0.bmp")]
    assert shared_masks(items) == {mask: (tmp_path / "0.png", tmp_path / "0.bmp")}
    with pytest.raises(DataError, match=r"0_mask\.png: it is the mask of 2 images, .*0\.png and .*0\.bmp; give each"):
        MaskReader(items)
    assert shared_masks([items[0], ImageItem(tmp_path / "1.png", "test", 1)]) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_links_to_one_mask_are_one_mask(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "0_mask.png")
    (tmp_path / "1_mask.png").symlink_to(mask)
    items = [ImageItem(tmp_path / f"{n}.png", "test", 1, "dent", tmp_path / f"{n}_mask.png") for n in range(2)]
    assert len(shared_masks(items)) == 1


def test_check_finds_what_an_evaluation_would_refuse_or_tell(root: Path) -> None:
    masks = root / "ground_truth" / "dent"
    write_image(root / "test" / "dent" / "0.bmp", 300)
    write_mask(masks / "1_mask.png", (41, 48), inverted=True)
    write_mask(masks / "2_mask.png", (48, 40))
    findings = {finding.code: finding for finding in check_dataset(root)}
    assert set(findings) == {"mask_shared", "mask_cut", "mask_covers_most", "mask_size"}
    assert findings["mask_shared"].severity == findings["mask_size"].severity == "error"
    assert set(findings["mask_shared"].paths) == {
        masks / "0_mask.png",
        root / "test" / "dent" / "0.png",
        root / "test" / "dent" / "0.bmp",
    }
    assert "turn the mask" in findings["mask_size"].message
    assert findings["mask_cut"].paths == findings["mask_covers_most"].paths == (masks / "1_mask.png",)
    assert (
        "1 mask covers more than half of its image: ground_truth/dent/1_mask.png"
        in findings["mask_covers_most"].message
    )


def test_masks_of_different_endings_never_hide_each_other(root: Path) -> None:
    """`0.png` and `0.jpg` of two defects have masks of their own; only within a folder they would share one."""
    write_image(root / "test" / "chip" / "0.jpg", 400)
    write_mask(root / "ground_truth" / "chip" / "0.png")
    assert shared_masks(open_dataset(root).items) == {}
