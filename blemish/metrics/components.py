"""Connected regions of a mask, with NumPy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blemish.schema import Mask


def label_regions(mask: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The flat positions of the mask's pixels and the number of the region each belongs to, from 0.

    Pixels that touch at an edge or a corner are of one region (8-connectivity, as in the official MVTec AD
    evaluation); regions are numbered in reading order of their first pixels.

    >>> label_regions(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]], dtype=bool))
    (array([0, 4, 9]), array([0, 0, 1]))
    """
    width = mask.shape[1]
    pixels = np.flatnonzero(mask)
    if len(pixels) == 0:
        return pixels, pixels
    rows, columns = np.divmod(pixels, width)
    # A run is a stretch of neighbors in one row; regions are joined runs, of which there are few.
    starts = np.flatnonzero(np.concatenate(([True], (np.diff(pixels) != 1) | (columns[1:] == 0))))
    ends = np.append(starts[1:], len(pixels)) - 1
    parents = _join(rows[starts], columns[starts], columns[ends])
    numbers = np.cumsum(parents == np.arange(len(parents))) - 1
    return pixels, np.repeat(numbers[parents], ends - starts + 1)


def _join(rows: NDArray[np.int64], first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each run (in reading order) the first run of its region."""
    # Each run touches an unbroken series of runs in the row below: those that end at or after its first column - 1
    # and start at or before its last column + 1. One key orders all runs by row and column.
    stride = int(last.max()) + 3
    low = np.searchsorted(rows * stride + last, (rows + 1) * stride + first - 1)
    high = np.searchsorted(rows * stride + first, (rows + 1) * stride + last + 1, side="right")
    counts = high - low
    upper = np.repeat(np.arange(len(rows)), counts)
    lower = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(low, counts)
    parents = np.arange(len(rows))
    while True:
        # Hook the roots of touching runs onto the smaller one, then flatten; settles in about log(runs) rounds.
        a, b = parents[upper], parents[lower]
        apart = a != b
        if not apart.any():
            return parents
        upper, lower, a, b = upper[apart], lower[apart], a[apart], b[apart]
        np.minimum.at(parents, np.maximum(a, b), np.minimum(a, b))
        while True:
            grandparents = parents[parents]
            if np.array_equal(grandparents, parents):
                break
            parents = grandparents
