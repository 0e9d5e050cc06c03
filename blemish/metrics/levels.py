"""The ranking of defective among good samples in its shortest exact form; every ranking metric is a sum over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blemish.errors import MetricError

Values: TypeAlias = NDArray[np.floating[Any]]
Numbers: TypeAlias = NDArray[Any]
"""Counts, or sums of shares."""
Result: TypeAlias = NDArray[np.float64]
"""One number for each ranking: shape () for one, (resamples,) for many."""


@dataclass(frozen=True)
class Levels:
    """Scores of defective samples, highest first, and what lies at and above each of them: shape (..., levels).

    `defective` and `good` count the samples of each class at a level, `good_above` the good ones above it: samples
    of one score cross a threshold together, so that ties are exact. `overlap` is the share of their defect regions
    that the pixels of a level add up to (empty at image level). `num_good` and `num_regions` are totals, of shape
    (...): many rankings of the same levels, as a bootstrap makes, are computed at once.
    """

    defective: Numbers
    good: Numbers
    good_above: Numbers
    num_good: Numbers
    overlap: Numbers
    num_regions: Numbers

    @property
    def true_positives(self) -> Numbers:
        return np.cumsum(self.defective, axis=-1)

    @property
    def false_positives(self) -> Numbers:
        return self.good_above + self.good


Metric: TypeAlias = Callable[[Levels], Result]


def rank(good: Values, defective: Values, overlap: Values, num_regions: int = 0) -> Levels:
    """The levels of scores of both classes, each at least one; `good` must be sorted upward."""
    # There can be millions of defective pixels: arrays are let go, or turned into their results, as soon as may be.
    if len(overlap):
        order = np.argsort(defective)
        defective, overlap = defective[order], overlap[order]
        del order
    else:
        defective = np.sort(defective)
    starts = np.flatnonzero(np.concatenate(([True], defective[1:] != defective[:-1])))
    counts = np.diff(starts, append=len(defective))
    shares = np.add.reduceat(overlap, starts) if len(overlap) else overlap
    scores = defective[starts]
    del defective, overlap, starts
    below, not_above = np.searchsorted(good, scores, side="left"), np.searchsorted(good, scores, side="right")
    tied = np.subtract(not_above, below, out=below)
    above = np.subtract(len(good), not_above, out=not_above)
    return Levels(
        defective=counts[::-1],
        good=tied[::-1],
        good_above=above[::-1],
        num_good=np.asarray(len(good)),
        overlap=shares[::-1],
        num_regions=np.asarray(num_regions),
    )


def area_by_level(levels: Levels, limit: float) -> tuple[Values, Values]:
    """What one sample at each level adds to the area under the curve over the false positive rate, up to the limit:
    if all good samples of its level came after it, and as it is, tied with them.

    The samples of a level enter over the width of the good ones tied with them, so the curve rises there in a
    straight line: this is the trapezoid rule, with linear interpolation at the limit, without the curve being made.
    """
    num_good = levels.num_good[..., np.newaxis]
    width = levels.good / num_good
    reach = np.maximum(limit - levels.good_above / num_good, 0.0)
    on_ramp = np.minimum(reach, width)
    ramp = np.divide(on_ramp**2, 2 * width, out=np.zeros_like(width), where=width > 0)
    return reach, reach - on_ramp + ramp


def area(levels: Levels, weights: Numbers, limit: float) -> Result:
    """The area under the curve of summed weights over the false positive rate, up to the limit, divided by it."""
    return np.asarray(np.sum(weights * area_by_level(levels, limit)[1], axis=-1) / limit)


def auroc_of(levels: Levels) -> Result:
    """AUROC: the chance that a defective sample scores above a good one, ties counting half."""
    return np.asarray(area(levels, levels.defective, 1.0) / levels.defective.sum(axis=-1))


def average_precision_of(levels: Levels) -> Result:
    """Average precision, the step sum over thresholds."""
    true_positives = levels.true_positives
    precision = true_positives / np.maximum(true_positives + levels.false_positives, 1)
    return np.asarray(np.sum(levels.defective * precision, axis=-1) / true_positives[..., -1])


def f1_max_of(levels: Levels) -> Result:
    """The best F1 over all thresholds; it is always met at the score of a defective sample."""
    true_positives = levels.true_positives
    marked = true_positives + levels.false_positives
    return np.asarray(np.max(2 * true_positives / (true_positives[..., -1:] + marked), axis=-1))


def aupro_of(levels: Levels, limit: float) -> Result:
    """The area under mean region overlap over the pixel false positive rate, up to the limit."""
    # Shares of a region add up to 1 but for rounding.
    return np.asarray(np.minimum(area(levels, levels.overlap, limit) / levels.num_regions, 1.0))


def levels_of(labels: ArrayLike, scores: ArrayLike, metric: str) -> Levels:
    """The levels of labelled scores, checked."""
    is_defective, values = checked(labels, scores, metric)
    good = values[~is_defective]
    good.sort()
    return rank(good, values[is_defective], np.empty(0))


def checked(labels: ArrayLike, scores: ArrayLike, metric: str) -> tuple[NDArray[np.bool_], Values]:
    """Labels as bool and scores as floats, both flat; raises `MetricError` where the metric is not defined."""
    is_defective, values = as_labels(labels, metric), finite(scores, metric).ravel()
    if len(is_defective) != len(values):
        raise MetricError(f"{metric} needs one score per label; found {len(is_defective)} labels, {len(values)} scores")
    num_defective = int(np.count_nonzero(is_defective))
    require_both(len(values) - num_defective, num_defective, metric)
    return is_defective, values


def as_labels(labels: ArrayLike, metric: str) -> NDArray[np.bool_]:
    """Labels 0 or 1 as bool, flat."""
    found = np.asarray(labels).ravel()
    if found.dtype != bool and not np.isin(found, (0, 1)).all():
        raise MetricError(f"{metric} needs labels 0 (good) and 1 (defective); found {np.unique(found)[:5].tolist()}")
    return found.astype(bool, copy=False)


def finite(scores: ArrayLike, metric: str) -> Values:
    """The scores as floats that keep them apart; raises `MetricError` at NaN and infinity."""
    found = np.asarray(scores)
    if found.dtype.kind not in "fiub":
        raise MetricError(f"{metric} needs numbers as scores; found {found.dtype}")
    found = found.astype(float_type(found.dtype), copy=False)
    # Least and largest are finite when all are: the look at each one, which costs memory, is only for the message.
    if found.size and not (np.isfinite(found.min()) and np.isfinite(found.max())):
        raise MetricError(f"{metric} needs finite scores; found {np.count_nonzero(~np.isfinite(found))} that are not")
    return found


def float_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The float type that keeps all numbers of a type apart, single precision at least."""
    if dtype.kind == "f" and dtype.itemsize >= 4:
        return dtype
    return np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)


def require_both(num_good: int, num_defective: int, metric: str, what: str = "samples") -> None:
    """Raises `MetricError` unless there is something of both classes."""
    if num_good == 0 or num_defective == 0:
        raise MetricError(
            f"{metric} needs both good and defective {what}; found {num_good} good and {num_defective} defective"
        )
