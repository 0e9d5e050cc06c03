"""Divides good images into fit and calibration parts: always the same for the same numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blemish.errors import SettingsError

Indices = NDArray[np.intp]

NUM_FOLDS = 5
CALIBRATION_SHARE = 0.25
"""Into how many folds good images are divided, and the share kept out where they are not."""


def contiguous_folds(num_images: int, num_folds: int) -> tuple[Indices, ...]:
    """Disjoint blocks of neighboring positions that together hold every image once; sizes differ by one at most.

    Images are sorted by path, so neighbors were mostly taken one after the other: of one part, one batch, one
    lighting. Shuffled folds would leave near copies of a held-out image among the others, its scores would come out
    too low and a threshold set from them would reject good parts. Blocks keep the images of one run together.

    >>> [fold.tolist() for fold in contiguous_folds(5, 2)]
    [[0, 1, 2], [3, 4]]
    """
    if not 2 <= num_folds <= num_images:
        raise SettingsError(f"{num_folds} folds of {num_images} images: give at least 2 folds and an image for each")
    return tuple(np.array_split(np.arange(num_images, dtype=np.intp), num_folds))


def holdout_split(num_images: int, share: float, seed: int) -> tuple[Indices, Indices]:
    """Positions for fitting and for calibration, both sorted; calibration gets about `share`, at least one image.

    The calibration part is one block of neighbors (see `contiguous_folds`), going on at the start where it meets the
    end; the seed chooses where it begins.
    """
    if not 0 < share < 1:
        raise SettingsError(f"the calibration share is {share:g}; give a value between 0 and 1")
    if num_images < 2:
        raise SettingsError(f"{num_images} image cannot be divided into a fit and a calibration part; give at least 2")
    num_calibration = min(max(round(num_images * share), 1), num_images - 1)
    start = int(np.random.default_rng(seed).integers(num_images))
    calibration = np.sort((start + np.arange(num_calibration, dtype=np.intp)) % num_images)
    return np.setdiff1d(np.arange(num_images, dtype=np.intp), calibration), calibration
