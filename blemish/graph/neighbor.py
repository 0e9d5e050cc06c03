"""Exact nearest-neighbor distance to a memory bank, inside the graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blemish.graph.builder import GraphBuilder

BLOCK_ENTRIES = 1024
"""Bank entries compared at a time: the distances of one block stay in the processor's cache."""


def nearest_distance(builder: GraphBuilder, embedding: str, bank: NDArray[np.float32]) -> str:
    """Euclidean distance of each position to its nearest bank entry: [batch, positions, c] to [batch, positions].

    min |x - b|^2 = |x|^2 + min(|b|^2 - 2 x.b): a constant 1 beside x and |b|^2 beside -2 b make the bracket one
    matrix product. Both are centered on the bank's mean first, which keeps float32 accurate.
    """
    center = bank.mean(axis=0, dtype=np.float64).astype(np.float32)
    entries = bank - center
    squares = np.einsum("ij,ij->i", entries, entries, dtype=np.float64).astype(np.float32)
    table = np.concatenate([-2 * entries.T, squares[None]]).astype(np.float32)
    x = builder.op("Sub", embedding, builder.constant(center))
    axis = builder.constant(np.array([-1], np.int64))
    square = builder.op("ReduceSumSquare", x, axis, keepdims=0)
    ones = builder.op(
        "Add", builder.op("Mul", square, builder.constant(np.float32(0))), builder.constant(np.float32(1))
    )
    augmented = builder.op("Concat", x, builder.op("Unsqueeze", ones, axis), axis=-1)
    nearest = [
        builder.op(
            "ReduceMin",
            builder.op("MatMul", augmented, builder.constant(table[:, start : start + BLOCK_ENTRIES])),
            axis,
            keepdims=0,
        )
        for start in range(0, len(bank), BLOCK_ENTRIES)
    ]
    smallest = builder.op("Min", *nearest) if len(nearest) > 1 else nearest[0]
    squared = builder.op("Relu", builder.op("Add", square, smallest))
    return builder.op("Sqrt", squared)
