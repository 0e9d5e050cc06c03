"""Moves values between grids (feature positions, map pixels) by two small matrix products.

Linear interpolation and Gaussian smoothing are separable linear maps, so any chain of them along one axis is one
matrix, and the result of a whole map is `rows @ map @ columns.T`: exact, and cheaper than resampling operators.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from blemish.graph.builder import GraphBuilder


@dataclass(frozen=True)
class Grid:
    """Positions at regular steps over the input image: (rows, columns), stride and first center in pixels.

    Centers are in pixel-edge coordinates: the middle of the first pixel is 0.5.
    """

    hw: tuple[int, int]
    stride: float
    first: float

    def centers(self, axis: int) -> NDArray[np.float64]:
        return self.first + self.stride * np.arange(self.hw[axis], dtype=np.float64)


def cell_grid(input_hw: tuple[int, int], stride: int, offset: float = 0.0) -> Grid:
    """The grid of a layer: one position for each stride x stride cell, `offset` pixels right and down of its middle."""
    height, width = input_hw
    return Grid((-(-height // stride), -(-width // stride)), stride, stride / 2 + offset)


def interpolation_matrix(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear interpolation from values at `source` centers to `target` centers, constant beyond the ends."""
    place = np.clip(np.interp(target, source, np.arange(len(source))), 0, len(source) - 1)
    lower = np.minimum(place.astype(int), max(len(source) - 2, 0))
    upper = np.minimum(lower + 1, len(source) - 1)
    matrix = np.zeros((len(target), len(source)))
    rows = np.arange(len(target))
    np.add.at(matrix, (rows, lower), 1 - (place - lower))
    np.add.at(matrix, (rows, upper), place - lower)
    return matrix


def smoothing_matrix(centers: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Gaussian smoothing among positions at `centers`; the weights of each row sum to 1, also at the borders."""
    if sigma <= 0:
        return np.eye(len(centers))
    distance = (centers[:, None] - centers[None, :]) / sigma
    weights = np.exp(-0.5 * distance**2) * (np.abs(distance) <= 4)
    normalized: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalized


def on_grid(maps: NDArray[np.float32], source: Grid, target: Grid, sigma: float = 0.0) -> NDArray[np.float32]:
    """Maps (..., rows, columns) of one grid on another, by linear interpolation, then smoothed by `sigma` pixels."""
    if source == target and sigma <= 0:
        return maps
    if sigma > 0:  # the matrices of the graph
        down, across = (_resampling_matrix(source, target, axis, sigma) for axis in (0, 1))
        return np.asarray(down @ maps @ across.T, np.float32)
    rows, columns = (interpolation_matrix(source.centers(axis), target.centers(axis)) for axis in (0, 1))
    return np.asarray(rows @ maps @ columns.T, np.float32)


def resample(builder: GraphBuilder, maps: str, source: Grid, target: Grid, sigma: float = 0.0) -> str:
    """[..., rows, columns] on `source` to `target` by linear interpolation, then smoothing by `sigma` pixels."""
    rows, columns = (_resampling_matrix(source, target, axis, sigma) for axis in (0, 1))
    wide = builder.op("MatMul", maps, builder.constant(np.ascontiguousarray(columns.T)))
    return builder.op("MatMul", builder.constant(rows), wide)


@lru_cache(maxsize=16)
def _resampling_matrix(source: Grid, target: Grid, axis: int, sigma: float) -> NDArray[np.float32]:
    """Kept, since a fit with many folds builds the same piece of graph for each."""
    smoothing = smoothing_matrix(target.centers(axis), sigma)
    return np.asarray(smoothing @ interpolation_matrix(source.centers(axis), target.centers(axis)), np.float32)
