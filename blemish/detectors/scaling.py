"""Makes the channels of patch embeddings comparable before distances are measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHRINKAGE = 0.01
"""Share of the mean variance mixed into each direction's: one at rest in the good images would drown all others."""


def fit_scaling(points: NDArray[np.float32], whitening: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The center (c,) and projection (c, c): `(x - center) @ projection` has more comparable channels.

    `points` is (n, c). Each principal direction is divided by its deviation to the power `whitening`: 0 only turns the
    axes, 1 makes all directions vary alike. Full whitening gives rare directions as much say as frequent ones, which
    helps where defects are subtle and harms where the good parts themselves vary in many ways; between is a middle.
    """
    center = points.mean(axis=0, dtype=np.float64)
    centered = points - center.astype(np.float32)
    covariance = (centered.T @ centered).astype(np.float64) / len(points)
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 0) * (1 - SHRINKAGE) + SHRINKAGE * values.mean()
    projection = vectors * np.maximum(values, 1e-12) ** (-whitening / 2)
    return center.astype(np.float32), projection.astype(np.float32)
