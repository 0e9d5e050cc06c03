"""Ranks of several detectors over several data sets, and how far apart ranks must be to mean something."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blemish.errors import MetricError
from blemish.metrics.intervals import beta_cdf

_NEMENYI_05 = (
    *(1.960, 2.344, 2.569, 2.728, 2.850, 2.948, 3.031, 3.102, 3.164),
    *(3.219, 3.268, 3.313, 3.354, 3.391, 3.426, 3.458, 3.489, 3.517, 3.544),
)
"""The studentized range over the square root of 2 at 5 % for 2 to 20 detectors (Demsar 2006)."""


@dataclass(frozen=True)
class Ranking:
    """Mean ranks over data sets, 1 the best, and the critical difference at 5 % (Nemenyi).

    `p_value` is that of all detectors being alike (Friedman's test in the form of Iman and Davenport 1980). `groups`
    are the largest runs of neighboring ranks, as places in the input, within which no two differ by more than the
    critical difference.
    """

    mean_ranks: tuple[float, ...]
    critical_difference: float
    p_value: float
    groups: tuple[tuple[int, ...], ...]


def rank_detectors(values: ArrayLike) -> Ranking:
    """The ranking of detectors by a metric, float (data sets, detectors), higher better; ties share their ranks.

    Needs two data sets and two to twenty detectors.

    >>> rank_detectors([[0.9, 0.8, 0.7], [0.8, 0.9, 0.7]]).mean_ranks
    (1.5, 1.5, 3.0)
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] < 2 or not 2 <= array.shape[1] <= 20 or not np.isfinite(array).all():
        raise MetricError(
            f"ranks need at least 2 data sets and 2 to 20 detectors, each with a number; found shape {array.shape}"
        )
    num_sets, num_detectors = array.shape
    ranks = np.stack([_ranks(row) for row in array])
    mean_ranks = ranks.mean(axis=0)
    critical = _NEMENYI_05[num_detectors - 2] * math.sqrt(num_detectors * (num_detectors + 1) / (6 * num_sets))
    return Ranking(tuple(mean_ranks.tolist()), critical, _friedman(ranks), _groups(mean_ranks.tolist(), critical))


def _ranks(row: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 for the largest; equal values share the mean of their ranks."""
    above = (row[None, :] > row[:, None]).sum(axis=1)
    equal = (row[None, :] == row[:, None]).sum(axis=1)
    return np.asarray(above + (equal + 1) / 2, np.float64)


def _friedman(ranks: NDArray[np.float64]) -> float:
    """The p-value, with the correction for ties."""
    num_sets, num_detectors = ranks.shape
    between = num_sets * float(((ranks.mean(axis=0) - (num_detectors + 1) / 2) ** 2).sum())
    total = float(((ranks - (num_detectors + 1) / 2) ** 2).sum())
    if between == 0:
        return 1.0
    within = total - between
    if within <= 1e-12 * total:
        return 0.0
    first, second = num_detectors - 1, (num_detectors - 1) * (num_sets - 1)
    ratio = (num_sets - 1) * between / within
    return 1.0 - beta_cdf(first * ratio / (first * ratio + second), first / 2, second / 2)


def _groups(mean_ranks: Sequence[float], critical: float) -> tuple[tuple[int, ...], ...]:
    order = sorted(range(len(mean_ranks)), key=lambda place: mean_ranks[place])
    groups: list[tuple[int, ...]] = []
    reached = 0
    for start, first in enumerate(order):
        end = start
        while end + 1 < len(order) and mean_ranks[order[end + 1]] - mean_ranks[first] <= critical:
            end += 1
        if end > start and end > reached:
            groups.append(tuple(order[start : end + 1]))
            reached = end
    return tuple(groups)
