"""Real labelled defects for detectors that can learn from them, kept apart from those that judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from blemish.alignment.frame import locate, mask_in_frame
from blemish.datasets.index import DatasetIndex, open_dataset
from blemish.datasets.labelled import split_defects
from blemish.datasets.mask_fit import MaskReader
from blemish.datasets.sequence import ResizedImages, sizes_of
from blemish.detectors.base import Defects
from blemish.errors import DataError
from blemish.images.decode import read_image
from blemish.images.resize import resize_mask
from blemish.schema import AS_THEY_ARE, DEFECTIVE, Alignment, ImageItem, Mask, ReadSettings

JUDGING_SHARE = 0.5
"""Share of the defects of each type that is kept to judge by."""


def labelled_defects(data: Any, seed: int, threads: int = 1) -> tuple[ImageItem, ...]:
    """The defective images of a data set to learn from. Raises DataError where there are none."""
    if isinstance(data, (str, Path)):
        data = open_dataset(Path(data))
    test = data.with_hashes(threads=threads).test if isinstance(data, DatasetIndex) else ()
    found = [item for item in test if item.label == DEFECTIVE]
    if not found:
        raise DataError("learning from defects needs a data set with labelled defective images, in test/<defect>")
    return split_defects(found, JUDGING_SHARE, seed)[0]


def read_defects(
    items: Sequence[ImageItem],
    input_hw: tuple[int, int],
    threads: int = 1,
    reading: ReadSettings = AS_THEY_ARE,
    alignment: Alignment | None = None,
) -> tuple[Defects, tuple[str, ...]]:
    """The defects at the input size with their masks, and what a person should be told of the masks.

    Where a mask is empty, nobody knows which part of the image is defective: it is learned from like one without.
    """
    masks = MaskReader(items)
    sizes = sizes_of([item.path for item in items], reading, threads=threads)
    found = [masks.read(item, hw) for item, hw in zip(items, sizes, strict=True)]
    empty = [item.mask_path for item, mask in zip(items, found, strict=True) if mask is not None and not mask.any()]
    paths = tuple(item.path for item in items)
    images = list(ResizedImages(paths, input_hw, reading, alignment=alignment, threads=threads))
    if alignment is not None:
        found = [
            None if mask is None else mask_in_frame(mask, locate(read_image(path, reading), alignment), alignment)
            for mask, path in zip(found, paths, strict=True)
        ]
    resized = [None if mask is None or not mask.any() else _shrink(mask, input_hw) for mask in found]
    notes = masks.notes
    if empty:
        notes += (
            f"{len(empty)} of the defects learned from have an empty mask, the first {empty[0]}: they are learned from "
            "as defective, without a place; draw their masks to learn more from them",
        )
    return Defects(images, resized), notes


def _shrink(mask: Mask, hw: tuple[int, int]) -> Mask:
    """The mask at another size; a defect so small that no pixel of that size would hold it keeps those it touches."""
    resized = resize_mask(mask, hw)
    if resized.any():
        return resized
    return np.asarray(cv2.resize(mask.astype(np.float32), hw[::-1], interpolation=cv2.INTER_AREA) > 0)
