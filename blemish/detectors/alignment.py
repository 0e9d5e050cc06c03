"""Whether good parts lie the same way each time, and what is usual at each position if they do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blemish.graph.grid import smoothing_matrix

FEWEST = 4
"""Maps of fewer images say nothing about positions."""


def usual_pattern(maps: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """What good maps (n, rows, columns) share at each position beyond their overall mean, and their alignment.

    The pattern is their mean map, smoothed by one position, less its mean. Alignment is the share of the variance of a
    map that the mean of the other maps explains, 0 to 1: near 0 for textures and for parts that lie anyhow.

    >>> stripes = np.tile(np.array([0.0, 0, 0, 8, 8, 8], np.float32), (5, 6, 1))
    >>> usual_pattern(stripes)[1]
    1.0
    >>> usual_pattern(np.random.default_rng(0).normal(size=(40, 8, 8)).astype(np.float32))[1]
    0.0
    """
    count, rows, columns = maps.shape
    mean = maps.mean(axis=0, dtype=np.float64)
    variance = np.mean((maps - mean.mean()) ** 2)
    if count < FEWEST or variance == 0:
        return np.zeros((rows, columns), np.float32), 0.0
    # A map less the mean of the others is its deviation from the mean of all, times n / (n - 1).
    unexplained = np.mean((maps - mean) ** 2) * (count / (count - 1)) ** 2
    down, across = (smoothing_matrix(np.arange(length, dtype=np.float64), 1.0) for length in (rows, columns))
    pattern = down @ (mean - mean.mean()) @ across.T
    return pattern.astype(np.float32), float(np.clip(1 - unexplained / variance, 0, 1))
