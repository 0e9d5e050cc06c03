"""Masks of images, compared with their images: what does not fit is refused by name, what is odd is told."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np

from blemish.datasets.left_out import shown
from blemish.errors import DataError
from blemish.images.mask import FAINT, read_mask_parts
from blemish.schema import ImageItem, Mask

MOST_COVERED = 0.5
"""A mask over a larger share of its image is probably inverted."""
BRIGHT = 128
FAINT_SHARE = 0.2
"""Where a mask has bright pixels and, for each, more than this of faint ones, these were left by an old compression."""


@dataclass(frozen=True)
class FittedMask:
    """A mask as large as its image, bool (height, width), and what is odd about it.

    `is_cut`: it was one pixel larger or smaller. `is_faint`: many of its pixels are nearly black.
    """

    mask: Mask
    is_cut: bool = False
    is_faint: bool = False

    @property
    def covers_most(self) -> bool:
        """Whether it covers so much of its image that black and white are probably exchanged."""
        return float(self.mask.mean()) > MOST_COVERED


def read_fitting_mask(path: Path, image: Path, image_hw: tuple[int, int]) -> FittedMask:
    """The mask in a file, as large as its image: one that is a pixel larger or smaller is cut to fit.

    Where a pixel is missing, the edge is repeated. Raises `DataError` that names both files for any other size,
    `ImageError` where the mask cannot be read.
    """
    values = np.max(read_mask_parts(path), axis=0)
    height, width = values.shape
    is_cut = (height, width) != image_hw
    if abs(height - image_hw[0]) > 1 or abs(width - image_hw[1]) > 1:
        remedy = "turn the mask" if (width, height) == image_hw else "draw the mask on the image, at its full size"
        size = f"{image_hw[1]} x {image_hw[0]}"
        raise DataError(f"{path}: the mask is {width} x {height} pixels, its image {size} ({image}); {remedy}")
    mask = values[: image_hw[0], : image_hw[1]] > 0
    if is_cut:
        mask = np.pad(mask, [(0, side - found) for side, found in zip(image_hw, mask.shape, strict=True)], mode="edge")
    is_faint = np.count_nonzero((values > 0) & (values < FAINT)) > FAINT_SHARE * np.count_nonzero(values >= FAINT)
    return FittedMask(mask, is_cut, bool(is_faint) and float(values.max()) >= BRIGHT)


def shared_masks(items: Iterable[ImageItem]) -> dict[Path, tuple[Path, ...]]:
    """Each mask that belongs to several images, with these; links to one file are one mask."""
    images_of: dict[str, list[ImageItem]] = {}
    for item in items:
        if item.mask_path is not None:
            images_of.setdefault(os.path.realpath(item.mask_path), []).append(item)
    return {
        items[0].mask_path: tuple(item.path for item in items)
        for items in images_of.values()
        if len(items) > 1 and items[0].mask_path is not None
    }


Oddity = Literal["mask_cut", "mask_covers_most", "mask_faint"]
_SENTENCES: dict[Oddity, tuple[str, str, str]] = {
    "mask_cut": (
        "mask is one pixel larger or smaller than its image",
        "masks are one pixel larger or smaller than their images",
        "such masks are cut to fit",
    ),
    "mask_covers_most": (
        "mask covers more than half of its image",
        "masks cover more than half of their images",
        "look whether black and white are exchanged, since all that is not black marks the defect",
    ),
    "mask_faint": (
        "mask has many faint pixels, such as JPEG compression leaves",
        "masks have many faint pixels, such as JPEG compression leaves",
        "they count as defect, since the file has no losses: save the mask again in pure black and white",
    ),
}


class MaskReader:
    """Reads the masks of an evaluation, and keeps what a person should be told of them.

    Raises DataError at once where two images have one mask, and while reading where a mask does not fit its image.
    """

    def __init__(self, items: Sequence[ImageItem]) -> None:
        shared = shared_masks(items)
        if shared:
            mask, images = next(iter(shared.items()))
            raise DataError(
                f"{mask}: it is the mask of {len(images)} images, {' and '.join(map(str, images[:2]))}; give each "
                "image its own, with names that differ in more than the ending"
            )
        self._odd = OddMasks()

    def read(self, item: ImageItem, image_hw: tuple[int, int]) -> Mask | None:
        """The mask of an image of that size, bool (height, width); None where it has none."""
        if item.mask_path is None:
            return None
        found = read_fitting_mask(item.mask_path, item.path, image_hw)
        self._odd.add(item.mask_path, found)
        return found.mask

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for each thing that is odd about the masks read so far."""
        return tuple(self._odd.notes().values())


class OddMasks:
    """Masks that can be used and that a person should look at, by what is odd about them."""

    def __init__(self) -> None:
        self.paths: dict[Oddity, list[Path]] = {}

    def add(self, path: Path, found: FittedMask) -> None:
        oddities = {"mask_cut": found.is_cut, "mask_covers_most": found.covers_most, "mask_faint": found.is_faint}
        for oddity, is_so in oddities.items():
            if is_so:
                self.paths.setdefault(cast(Oddity, oddity), []).append(path)

    def notes(self, root: Path | None = None) -> dict[Oddity, str]:
        """What to say of each oddity, with the count and the first name (from `root`, where given)."""
        notes = {}
        for oddity, paths in self.paths.items():
            one, several, hint = _SENTENCES[oddity]
            told = f"1 {one}: " if len(paths) == 1 else f"{len(paths)} {several}, the first "
            notes[oddity] = f"{told}{shown(paths[0], root)}; {hint}"
        return notes
