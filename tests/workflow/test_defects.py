"""Labelled defects to learn from: half of a data set's, with the masks that tell where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blemish.datasets.index import open_dataset
from blemish.errors import DataError
from blemish.schema import ImageItem
from blemish.testing.tiny import TinyProduct, write_png, write_tiny_product
from blemish.workflow.defects import labelled_defects, read_defects

HW = (64, 96)


def defect(folder: Path, name: str, marked: list[tuple[int, int]] | None, hw: tuple[int, int] = HW) -> ImageItem:
    """A defective image whose mask marks these pixels, or that has no mask."""
    write_png(folder / f"{name}.png", np.random.default_rng(0).integers(0, 256, (*HW, 3)).astype(np.uint8))
    mask = np.zeros((*hw, 3), np.uint8)
    for place in marked or []:
        mask[place] = 255
    if marked is not None:
        write_png(folder / f"{name}_mask.png", mask)
    return ImageItem(folder / f"{name}.png", "test", 1, "dent", None if marked is None else folder / f"{name}_mask.png")


def test_an_empty_mask_is_like_none_and_told(tmp_path: Path) -> None:
    block = [(row, column) for row in range(20, 40) for column in range(30, 50)]
    items = [defect(tmp_path, "0", block), defect(tmp_path, "1", []), defect(tmp_path, "2", None)]
    known, notes = read_defects(items, (32, 48))
    assert [image.shape for image in known.images] == [(32, 48, 3)] * 3
    first, *others = known.masks
    assert first is not None
    assert first.sum() == 10 * 10
    assert others == [None, None]
    assert notes == (
        f"1 of the defects learned from have an empty mask, the first {tmp_path / '1_mask.png'}: they are learned from "
        "as defective, without a place; draw their masks to learn more from them",
    )


@pytest.mark.parametrize("place", [(0, 0), (31, 47), (63, 95), (17, 2)])
def test_a_defect_of_one_pixel_is_not_lost_at_a_smaller_size(place: tuple[int, int], tmp_path: Path) -> None:
    known, notes = read_defects([defect(tmp_path, "0", [place])], (8, 16))
    [mask] = known.masks
    assert mask is not None
    assert mask[place[0] // 8, place[1] // 6]
    assert mask.sum() == 1
    assert notes == ()


def test_masks_that_do_not_fit_are_refused_before_anything_is_learned(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0_mask\.png: the mask is 64 x 96 pixels, its image 96 x 64"):
        read_defects([defect(tmp_path, "0", [(1, 1)], (96, 64))], (32, 48))


def test_half_of_the_labelled_defects_are_learned_from(product: TinyProduct, tmp_path: Path) -> None:
    folder = write_tiny_product(tmp_path / "parts", product)
    items = labelled_defects(folder, seed=0)
    assert 0 < len(items) < len([item for item in open_dataset(folder).test if not item.is_good])
