"""Exact nearest-neighbor distance to a memory bank, inside the graph."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from blemish.graph.builder import GraphBuilder

BLOCK_ENTRIES = 1024
"""Bank entries compared at a time: the distances of one block stay in the processor's cache."""


def nearest_distance(
    builder: GraphBuilder, embedding: str, bank: NDArray[np.float32], spacings: NDArray[np.float32] | None = None
) -> str:
    """Euclidean distance of each position to its nearest bank entry: [batch, positions, c] to [batch, positions].

    With `spacings`, one for each entry, the distance to an entry is divided by its own before the smallest is taken.
    Entries that follow each other with the same spacing are compared together: give them in the order of it.

    min |x - b|^2 = |x|^2 + min(|b|^2 - 2 x.b): a constant 1 beside x and |b|^2 beside -2 b make the bracket one
    matrix product. Both are centered on the bank's mean first, which keeps float32 accurate.
    """
    center = bank.mean(axis=0, dtype=np.float64).astype(np.float32)
    entries = bank - center
    squares = np.einsum("ij,ij->i", entries, entries, dtype=np.float64).astype(np.float32)
    table = np.concatenate([-2 * entries.T, squares[None]]).astype(np.float32)
    spacings = np.ones(len(bank), np.float32) if spacings is None else spacings
    x = builder.op("Sub", embedding, builder.constant(center))
    axis = builder.constant(np.array([-1], np.int64))
    square = builder.op("ReduceSumSquare", x, axis, keepdims=1)
    ones = builder.op(
        "Add", builder.op("Mul", square, builder.constant(np.float32(0))), builder.constant(np.float32(1))
    )
    augmented = builder.op("Concat", x, ones, axis=-1)
    blocks = _blocks(spacings)
    nearest = [
        builder.op("ReduceMin", builder.op("MatMul", augmented, builder.constant(table[:, block])), axis, keepdims=1)
        for block in blocks
    ]
    squared = builder.op("Relu", builder.op("Add", square, builder.op("Concat", *nearest, axis=-1)))
    weights = np.array([1 / spacings[block.start] ** 2 for block in blocks], np.float32)
    weighted = squared if (weights == 1).all() else builder.op("Mul", squared, builder.constant(weights))
    return builder.op("Sqrt", builder.op("ReduceMin", weighted, axis, keepdims=0))


def _blocks(spacings: NDArray[np.float32]) -> list[slice]:
    """Entries compared at a time: at most `BLOCK_ENTRIES`, all of one spacing."""
    changes = np.flatnonzero(np.diff(spacings)) + 1
    bounds = [0, *changes.tolist(), len(spacings)]
    return [
        slice(start, min(start + BLOCK_ENTRIES, end))
        for begin, end in pairwise(bounds)
        for start in range(begin, end, BLOCK_ENTRIES)
    ]
