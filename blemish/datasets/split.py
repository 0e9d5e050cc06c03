"""Divides good images into fit and calibration parts: always the same for the same numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blemish.datasets.groups import Groups
from blemish.errors import SettingsError

Indices = NDArray[np.intp]

NUM_FOLDS = 5
CALIBRATION_SHARE = 0.25
"""Into how many folds good images are divided where each is a fit, and the share kept out where none is."""
SHORTEST_BLOCK = 20
MOST_BLOCKS = 4
"""Images in a block of a fold at least, and blocks in a fold at most."""


def block_folds(num_images: int, num_folds: int) -> tuple[Indices, ...]:
    """Disjoint folds of blocks of neighbors that together hold every image once; their sizes differ by one at most.

    Images are sorted by path, so neighbors were mostly taken one after the other: of one part, one batch, one
    lighting. Shuffled folds would leave near copies of a held-out image among the others, its scores would come out
    too low and a threshold set from them would reject good parts. Blocks keep the images of one run together. One
    block a fold, though, would hold out every image of a kind that stands together in the order of names, and a
    model that never saw the kind would set the threshold. So each fold takes up to 4 blocks from all over the order,
    as many as leave each at least 20 images long.

    >>> [fold.tolist() for fold in block_folds(5, 2)]
    [[0, 1, 2], [3, 4]]
    >>> [[int(i) for i in fold[::10]] for fold in block_folds(100, 2)]
    [[0, 10, 20, 55, 65], [25, 35, 45, 80, 90]]
    """
    if not 2 <= num_folds <= num_images:
        raise SettingsError(f"{num_folds} folds of {num_images} images: give at least 2 folds and an image for each")
    blocks_per_fold = min(max(num_images // (num_folds * SHORTEST_BLOCK), 1), MOST_BLOCKS)
    blocks = np.array_split(np.arange(num_images, dtype=np.intp), num_folds * blocks_per_fold)
    return tuple(np.concatenate(blocks[fold::num_folds]) for fold in range(num_folds))


def holdout_split(groups: Groups, share: float, seed: int) -> tuple[Indices, Indices]:
    """Positions for fitting and for calibration, both sorted; calibration gets about `share`, at least one image.

    Whole groups are kept out, drawn by the seed from all over the order of names: one block of neighbors could miss
    whole kinds of good parts, or hold nothing else.
    """
    if not 0 < share < 1:
        raise SettingsError(f"the calibration share is {share:g}; give a value between 0 and 1")
    num_images = len(groups.numbers)
    if num_images < 2:
        raise SettingsError(f"{num_images} image cannot be divided into a fit and a calibration part; give at least 2")
    if groups.count < 2:
        raise SettingsError("all images are of one group: they cannot be divided into a fit and a calibration part")
    wanted = min(max(round(num_images * share), 1), num_images - 1)
    sizes = np.bincount(groups.numbers)
    held = np.zeros(groups.count, np.bool_)
    total = 0
    for group in np.random.default_rng(seed).permutation(groups.count):
        # A group is taken where that brings the number nearer to the wanted one, and always the first.
        if (total == 0 or abs(total + sizes[group] - wanted) < abs(total - wanted)) and total + sizes[
            group
        ] < num_images:
            held[group] = True
            total += int(sizes[group])
    is_held = held[groups.numbers]
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)
