"""How well scores rank defective above good samples (images or pixels), with ties handled exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blemish.metrics.levels import auroc_of, average_precision_of, checked, f1_max_of, levels_of


@dataclass(frozen=True)
class RocCurve:
    """Shares of good (`fpr`) and of defective samples (`tpr`) that score at least each threshold, highest first."""

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    thresholds: NDArray[np.float64]


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """Precision and recall of "score at least the threshold is defective", highest threshold first."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    thresholds: NDArray[np.float64]


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """The area under the ROC curve: the chance that a defective sample scores above a good one, ties counting half.

    Arrays of any one shape, labels 0 or 1. Raises `MetricError` unless both classes are there.

    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return float(auroc_of(levels_of(labels, scores, "auroc")))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Average precision: the mean, over defective samples, of the precision at their score (step sum).

    >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    return float(average_precision_of(levels_of(labels, scores, "average_precision")))


def f1_max(labels: ArrayLike, scores: ArrayLike) -> float:
    """The best F1 of any threshold: an upper bound that knows the test labels, not what a set threshold reaches.

    >>> f1_max([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.8
    """
    return float(f1_max_of(levels_of(labels, scores, "f1_max")))


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> RocCurve:
    """The full ROC curve, one point for each distinct score and before it (0, 0) at an infinite threshold.

    >>> roc_curve([0, 1, 1], [0.2, 0.2, 0.9]).tpr
    array([0. , 0.5, 1. ])
    """
    thresholds, true_positives, false_positives = _cumulative(labels, scores, "roc_curve")
    return RocCurve(
        fpr=np.concatenate(([0.0], false_positives / false_positives[-1])),
        tpr=np.concatenate(([0.0], true_positives / true_positives[-1])),
        thresholds=np.concatenate(([np.inf], thresholds)),
    )


def precision_recall_curve(labels: ArrayLike, scores: ArrayLike) -> PrecisionRecallCurve:
    """The full precision-recall curve, one point for each distinct score.

    >>> precision_recall_curve([0, 1, 1], [0.2, 0.2, 0.9]).recall
    array([0.5, 1. ])
    """
    thresholds, true_positives, false_positives = _cumulative(labels, scores, "precision_recall_curve")
    return PrecisionRecallCurve(
        precision=true_positives / (true_positives + false_positives),
        recall=true_positives / true_positives[-1],
        thresholds=thresholds,
    )


def _cumulative(
    labels: ArrayLike, scores: ArrayLike, metric: str
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """The distinct scores, highest first, and the samples of each class that score at least that much."""
    is_defective, values = checked(labels, scores, metric)
    order = np.argsort(values)[::-1]
    ordered = values[order]
    last = np.flatnonzero(np.concatenate((ordered[1:] != ordered[:-1], [True])))
    true_positives = np.cumsum(is_defective[order], dtype=np.int64)[last]
    return ordered[last].astype(np.float64), true_positives, last + 1 - true_positives
