"""The last piece of every graph: values per position to the anomaly map and the anomaly score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blemish.graph.builder import GraphBuilder
from blemish.graph.grid import Grid, cell_grid, resample
from blemish.schema import Reduction


def finish(
    builder: GraphBuilder,
    values: str,
    source: Grid,
    input_hw: tuple[int, int],
    *,
    sigma: float,
    reduction: Reduction,
) -> None:
    """Declares `anomaly_map` (at the input's size, smoothed by `sigma` pixels) and `anomaly_score`.

    `values` is float32 [batch, positions] or [batch, rows, columns] on the grid `source`.
    """
    finish_sum(builder, [(values, source)], input_hw, sigma=sigma, reduction=reduction)


def finish_sum(
    builder: GraphBuilder,
    layers: Sequence[tuple[str, Grid]],
    input_hw: tuple[int, int],
    *,
    sigma: float,
    reduction: Reduction,
) -> None:
    """As `finish`, for the sum of the values of several layers, each on a grid of its own."""
    maps = []
    for values, source in layers:
        grid = builder.op("Reshape", values, builder.constant(np.array([-1, *source.hw], np.int64)))
        maps.append(resample(builder, grid, source, cell_grid(input_hw, 1), sigma))
    anomaly_map = builder.op("Sum", *maps) if len(maps) > 1 else maps[0]
    score = reduce_score(builder, anomaly_map, input_hw, reduction)
    builder.output(anomaly_map, "anomaly_map", np.float32, ["batch", *input_hw])
    builder.output(score, "anomaly_score", np.float32, ["batch"])


def reduce_score(builder: GraphBuilder, anomaly_map: str, map_hw: tuple[int, int], reduction: Reduction) -> str:
    """The declared reduction of a map [batch, height, width] to a score [batch]."""
    if reduction.kind == "max":
        return builder.op("ReduceMax", anomaly_map, builder.constant(np.array([1, 2], np.int64)), keepdims=0)
    if reduction.kind == "top_mean":
        flat = builder.op("Reshape", anomaly_map, builder.constant(np.array([-1, map_hw[0] * map_hw[1]], np.int64)))
        largest = builder.top_values(flat, reduction.count)
        return builder.op("ReduceMean", largest, builder.constant(np.array([1], np.int64)), keepdims=0)
    raise ValueError(f"a score made of {reduction.kind} is not a reduction of the map")
