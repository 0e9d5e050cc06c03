"""What is usual at each position of good maps: borders, edges and prints of good parts vary more than plain surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blemish.graph.grid import smoothing_matrix

AROUND = 2
"""Positions to each side among which the largest value counts: parts lie a little differently."""
SMOOTHING = 2.0
"""Deviation, in positions, of the Gaussian that joins what neighboring positions say."""
DOUBT = 8
"""As many images say at each position what is usual everywhere: few good images tell little of single positions."""


def usual_maxima(maps: NDArray[np.float32], num_images: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The largest value around each position of good maps (n, rows, columns): its level, and its spread.

    The level is its mean, the spread its deviation from image to image in shares of the usual one, 1 in the mean. Both
    are (rows, columns), smoothed, and drawn towards what is usual everywhere where the maps are of few images:
    turned copies of an image tell no more of it.

    >>> calm_left = np.random.default_rng(0).normal(5, [0.1] * 12 + [0.4] * 12, (40, 8, 24)).astype(np.float32)
    >>> level, spread = usual_maxima(calm_left, 40)
    >>> bool(level[:, -1].min() > level[:, 0].max()), bool(spread[:, -1].min() > spread[:, 0].max())
    (True, True)
    """
    maxima = _largest_around(maps).astype(np.float64)
    down, across = (smoothing_matrix(np.arange(length, dtype=np.float64), SMOOTHING) for length in maps.shape[1:])
    level = down @ maxima.mean(axis=0) @ across.T
    variance = down @ maxima.var(axis=0) @ across.T
    level = (num_images * level + DOUBT * level.mean()) / (num_images + DOUBT)
    deviation = np.sqrt(num_images * variance + DOUBT * variance.mean())
    if deviation.max() == 0:  # of one image
        return level.astype(np.float32), np.ones(maps.shape[1:], np.float32)
    return level.astype(np.float32), (deviation / deviation.mean()).astype(np.float32)


def _largest_around(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest value among the positions up to `AROUND` rows and columns away."""
    for axis in (1, 2):
        sides = [(AROUND, AROUND) if axis == one else (0, 0) for one in range(3)]
        padded = np.pad(maps, sides, constant_values=-np.inf)
        shifted = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1, axis=axis)
        maps = shifted.max(axis=-1)
    return maps
