"""Makes the channels of patch embeddings comparable before distances are measured."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scaling = Literal["none", "standardize", "whiten"]

SHRINKAGE = 0.01
"""Least deviation, and share of the variance mixed in: keeps directions without variance from dominating."""


def fit_scaling(points: NDArray[np.float32], kind: Scaling) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The center (c,) and projection (c, c): `(x - center) @ projection` has comparable channels.

    `points` is (n, c).
    `standardize` divides each channel by its deviation, but by no less than a hundredth of the mean one: a channel at
    rest in the good images would drown all others once it wakes. `whiten` also removes correlations, its covariance
    shrunk towards the mean variance.
    """
    center = points.mean(axis=0, dtype=np.float64)
    channels = points.shape[1]
    if kind == "none":
        projection = np.eye(channels)
    elif kind == "standardize":
        deviation = points.std(axis=0, dtype=np.float64)
        projection = np.diag(1 / np.maximum(deviation, max(SHRINKAGE * deviation.mean(), 1e-6)))
    else:
        centered = points - center.astype(np.float32)
        covariance = (centered.T @ centered).astype(np.float64) / len(points)
        values, vectors = np.linalg.eigh(covariance)
        values = np.maximum(values, 0) * (1 - SHRINKAGE) + SHRINKAGE * values.mean()
        projection = vectors / np.sqrt(np.maximum(values, 1e-12))
    return center.astype(np.float32), projection.astype(np.float32)
