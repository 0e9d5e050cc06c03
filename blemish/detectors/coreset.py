"""Greedy coreset selection: the entries of a memory bank that cover all patch embeddings best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blemish.schema import Progress, silent

POOL_SIZE = 512
CHUNK_ROWS = 8192
ROUNDING = 4e-7
"""Squared distances below this share of the largest squared radius are zero but for rounding in float32."""


def select_coreset(points: NDArray[np.float32], count: int, *, progress: Progress = silent) -> NDArray[np.intp]:
    """Indices of at most `count` points, in the order of greedy k-center selection (Gonzalez, 1985).

    Each point chosen is the one farthest from all chosen before, starting from the point farthest from the mean: the
    covering radius is at most twice the best possible. Ends early when every point is covered exactly. `points` is
    float32 (n, channels).

    The order is that of the plain greedy choice, found with far fewer passes over the points: distances to the chosen
    points only ever shrink, so as long as the farthest point of a pool of far points is at least as far as every
    point outside the pool was at the last pass, it is the farthest of all. One pass, a matrix product, then
    accounts for all points chosen from the pool.

    >>> line = np.array([[0.0], [1.0], [2.0], [8.0], [9.0]], np.float32)
    >>> select_coreset(line, 3).tolist()
    [4, 0, 2]
    """
    num_points = len(points)
    count = min(count, num_points)
    points = points - points.mean(axis=0, dtype=np.float64).astype(np.float32)
    squares = np.einsum("ij,ij->i", points, points)
    chosen = [int(np.argmax(squares))]
    distances = np.full(num_points, np.inf, np.float32)
    _shrink(distances, points, squares, np.array(chosen))
    covered = ROUNDING * float(squares.max())
    while len(chosen) < count and distances.max() > covered:
        picks = _pick_from_pool(distances, points, squares, count - len(chosen), covered)
        chosen.extend(picks.tolist())
        _shrink(distances, points, squares, picks)
        progress("choosing bank entries", len(chosen), count)
    return np.array(chosen, np.intp)


def cover_orders(points: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """For each image the indices of exactly `count` of its points, in the greedy order of `select_coreset`.

    `points` is float32 (images, n, channels); copies of other points of an image come last. Each step is taken for all
    images at once: give a few at a time.
    """
    points = points - points.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    squares = np.einsum("ijk,ijk->ij", points, points)
    each = np.arange(len(points))
    distances = squares.copy()
    chosen = np.empty((len(points), count), np.intp)
    for number in range(count):
        farthest = distances.argmax(axis=1)
        chosen[:, number] = farthest
        to_chosen = np.matmul(points, points[each, farthest][:, :, None])[:, :, 0]
        to_chosen *= -2
        to_chosen += squares
        to_chosen += squares[each, farthest][:, None]
        distances = to_chosen if number == 0 else np.minimum(distances, to_chosen, out=distances)
        distances[each, farthest] = -np.inf
    return chosen


def covering_radius(points: NDArray[np.float32], bank: NDArray[np.float32]) -> float:
    """The largest distance of a point to its nearest bank entry."""
    distances = np.full(len(points), np.inf, np.float32)
    squares = np.einsum("ij,ij->i", points, points)
    for start in range(0, len(bank), 256):
        part = bank[start : start + 256]
        _shrink_to(distances, points, squares, part)
    return float(np.sqrt(max(distances.max(), 0.0)))


def _pick_from_pool(
    distances: NDArray[np.float32],
    points: NDArray[np.float32],
    squares: NDArray[np.float32],
    most: int,
    covered: float,
) -> NDArray[np.intp]:
    """The next greedy choices that can be known without another pass over all points: one at least."""
    size = min(POOL_SIZE, len(points) - 1)
    order = np.argpartition(distances, len(distances) - size - 1)[-size - 1 :]
    order = order[np.argsort(distances[order], kind="stable")]
    outside, pool = distances[order[0]], order[1:]
    inner = points[pool]
    mutual = squares[pool][:, None] + squares[pool][None, :] - 2 * (inner @ inner.T)
    remaining = distances[pool].copy()
    picks: list[int] = []
    while len(picks) < most:
        farthest = int(np.argmax(remaining))
        if picks and remaining[farthest] < max(outside, covered):
            break
        picks.append(farthest)
        np.minimum(remaining, mutual[farthest], out=remaining)
        remaining[farthest] = -np.inf
    return np.asarray(pool[picks], np.intp)


def _shrink(
    distances: NDArray[np.float32],
    points: NDArray[np.float32],
    squares: NDArray[np.float32],
    picks: NDArray[np.intp],
) -> None:
    """Lowers squared distances to those of the newly chosen points; chosen points are never chosen again."""
    _shrink_to(distances, points, squares, points[picks])
    distances[picks] = -np.inf


def _shrink_to(
    distances: NDArray[np.float32],
    points: NDArray[np.float32],
    squares: NDArray[np.float32],
    centers: NDArray[np.float32],
) -> None:
    table = (-2 * centers.T).astype(np.float32)
    center_squares = np.einsum("ij,ij->i", centers, centers)
    for start in range(0, len(points), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        nearest = (points[rows] @ table + center_squares).min(axis=1) + squares[rows]
        np.minimum(distances[rows], nearest, out=distances[rows])
