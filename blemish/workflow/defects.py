"""Real labelled defects for detectors that can learn from them, kept apart from those that judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blemish.datasets.index import DatasetIndex, open_dataset
from blemish.datasets.labelled import split_defects
from blemish.datasets.sequence import ResizedImages
from blemish.detectors.base import Defects
from blemish.errors import DataError
from blemish.images.decode import read_mask
from blemish.images.resize import resize_mask
from blemish.schema import DEFECTIVE, ImageItem

JUDGING_SHARE = 0.5
"""Share of the defects of each type that is kept to judge by."""


def labelled_defects(data: Any, seed: int) -> tuple[ImageItem, ...]:
    """The defective images of a data set to learn from. Raises DataError where there are none."""
    if isinstance(data, (str, Path)):
        data = open_dataset(Path(data))
    found = (
        [item for item in data.with_hashes().test if item.label == DEFECTIVE] if isinstance(data, DatasetIndex) else []
    )
    if not found:
        raise DataError("learning from defects needs a data set with labelled defective images, in test/<defect>")
    return split_defects(found, JUDGING_SHARE, seed)[0]


def read_defects(items: Sequence[ImageItem], input_hw: tuple[int, int]) -> Defects:
    """The defects at the input size, with their masks; an empty mask does not tell where the defect is, so is left out.

    So is one with nothing left at the input size.
    """
    images = list(ResizedImages(tuple(item.path for item in items), input_hw))
    masks = [None if item.mask_path is None else resize_mask(read_mask(item.mask_path), input_hw) for item in items]
    return Defects(images, [mask if mask is not None and mask.any() else None for mask in masks])
