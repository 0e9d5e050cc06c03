"""Labelled defects to learn from: half of a data set's, with the masks that tell where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from blemish.datasets.index import open_dataset
from blemish.images.decode import read_mask
from blemish.schema import Mask
from blemish.testing.tiny import TINY_HW, TinyProduct, write_png, write_tiny_product
from blemish.workflow.defects import labelled_defects, read_defects


def dot(mask: Mask) -> Mask:
    """One pixel, which nearest neighbors lose at a quarter of the size."""
    found = np.zeros_like(mask)
    found[1, 1] = True
    return found


@pytest.mark.parametrize("change", [np.zeros_like, dot], ids=["empty", "lost at the input size"])
def test_a_mask_that_shows_nothing_says_that_the_place_is_not_known(
    change: Callable[[Mask], Mask], product: TinyProduct, tmp_path: Path
) -> None:
    folder = write_tiny_product(tmp_path / "parts", product)
    items = labelled_defects(folder, seed=0)
    assert len(items) < len([item for item in open_dataset(folder).test if not item.is_good])
    first = items[0].mask_path
    assert first is not None
    write_png(first, np.repeat(change(read_mask(first))[..., None], 3, axis=2).astype(np.uint8) * 255)
    small = (TINY_HW[0] // 4, TINY_HW[1] // 4)
    masks = read_defects(items, small).masks
    assert masks[0] is None
    assert all(mask is not None and mask.any() and mask.shape == small for mask in masks[1:])
