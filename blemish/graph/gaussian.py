"""Mahalanobis distance to a Gaussian per position, inside the graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blemish.graph.builder import GraphBuilder


def mahalanobis(
    builder: GraphBuilder, embedding: str, means: NDArray[np.float32], whiteners: NDArray[np.float32]
) -> str:
    """[batch, positions, c] to [batch, positions]: the length of `(x - mean) @ whitener` at each position.

    `means` is (positions, c); `whiteners` is (c, c) shared or (positions, c, c), with
    `whitener @ whitener.T` the inverse covariance.
    """
    axis = builder.constant(np.array([2], np.int64))
    centered = builder.op("Sub", embedding, builder.constant(means))
    if whiteners.ndim == 2:
        white = builder.op("MatMul", centered, builder.constant(whiteners))
        return builder.op("Sqrt", builder.op("ReduceSumSquare", white, axis, keepdims=0))
    by_position = builder.op("Transpose", centered, perm=[1, 0, 2])
    white = builder.op("MatMul", by_position, builder.constant(whiteners))
    distance = builder.op("Sqrt", builder.op("ReduceSumSquare", white, axis, keepdims=0))
    return builder.op("Transpose", distance, perm=[1, 0])
