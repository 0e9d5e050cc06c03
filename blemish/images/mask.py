"""Masks from files: which pixels are marked, in each kind of file that people draw masks in.

- Marked is what is not black, in any color, number type or palette.
- A file compressed with losses has faint pixels around each mark: there marked is what has at least half the brightness
  of the brightest pixel, and at least `FAINT`.
- Transparency counts where it differs between pixels: what is transparent is not marked, and where all visible pixels
  are alike, be they white, black or in color, these are the mark.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from blemish.errors import ImageError
from blemish.images.decode import IMAGE_SUFFIXES, read_layers
from blemish.schema import Mask

FAINT = 32
"""Values below this, of 255, are what compression leaves of black."""


def read_mask(path: Path) -> Mask:
    """The marked pixels of a file as bool (height, width); of a folder of several masks, as in MVTec LOCO, their union.

    Raises `ImageError` where a file cannot be read, or where the masks in a folder differ in size.
    """
    return cast(Mask, np.any([part > 0 for part in read_mask_parts(path)], axis=0))


def read_mask_parts(path: Path) -> tuple[NDArray[Any], ...]:
    """The masks of one image, each (height, width): the stored values of the marked pixels, zero elsewhere.

    From a folder, or from one file. In MVTec LOCO the value of a mask's pixels says which kind of defect it is.
    """
    files = [path]
    if os.path.isdir(path):
        files = sorted(
            part for part in path.iterdir() if part.suffix.lower() in IMAGE_SUFFIXES and not part.name.startswith(".")
        )
    if not files:
        raise ImageError(f"{path}: the folder holds no mask; put the masks of the image there as PNG files")
    parts = tuple(_read_marks(file) for file in files)
    if len({part.shape for part in parts}) > 1:
        raise ImageError(f"{path}: the masks in this folder differ in size; make them all as large as the image")
    return parts


def _read_marks(path: Path) -> NDArray[Any]:
    layers = read_layers(path)
    values = layers.pixels.max(axis=2) if layers.pixels.ndim == 3 else layers.pixels
    marked = values >= max(FAINT, (int(values.max()) + 1) // 2) if layers.is_lossy else values > 0
    if layers.alpha is None:
        if layers.has_alpha and marked.all():
            raise ImageError(f"{path}: its transparency cannot be read; save the mask in black and white, as PNG")
        return np.where(marked, values, 0)
    visible = layers.alpha > 0
    if visible.all() or not visible.any():
        return np.where(marked, values, 0)
    if marked[visible].any() and not marked[visible].all():
        return np.where(marked & visible, values, 0)
    return np.where(visible, np.maximum(values, 1), 0)
