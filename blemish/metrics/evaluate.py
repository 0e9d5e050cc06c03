"""All numbers of an evaluation, named as in the JSON, each with its interval; what a workflow calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blemish.errors import MetricError
from blemish.metrics.intervals import clopper_pearson, percentile_interval, resample_counts
from blemish.metrics.levels import Levels, auroc_of, average_precision_of, checked, f1_max_of, levels_of
from blemish.metrics.operating import confusion, separation_ratio


def image_metrics(labels: ArrayLike, scores: ArrayLike, *, seed: int = 0, resamples: int = 1000) -> dict[str, Any]:
    """`image_auroc`, `image_ap`, `image_f1_max`, `separation_ratio`, the counts of images, and `intervals`.

    Intervals are of 95 % by the bootstrap, stratified over good and defective images. `separation_ratio` is None
    where good images do not score above 0 on average. Raises `MetricError` unless both classes are there.

    >>> image_metrics([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])["image_auroc"]
    0.75
    """
    is_defective, values = checked(labels, scores, "image_auroc")
    levels = levels_of(is_defective, values, "image_auroc")
    draws = _resampled_levels(is_defective, values, seed, resamples)
    try:
        ratio: float | None = separation_ratio(is_defective, values)
    except MetricError:
        ratio = None
    return {
        "image_auroc": float(auroc_of(levels)),
        "image_ap": float(average_precision_of(levels)),
        "image_f1_max": float(f1_max_of(levels)),
        "separation_ratio": ratio,
        "num_good": int(np.count_nonzero(~is_defective)),
        "num_defective": int(np.count_nonzero(is_defective)),
        "intervals": {
            "image_auroc": percentile_interval(auroc_of(draws)),
            "image_ap": percentile_interval(average_precision_of(draws)),
            "image_f1_max": percentile_interval(f1_max_of(draws)),
        },
    }


def operating_point(
    labels: ArrayLike, rejected: ArrayLike, defect_types: Sequence[str], *, scores: ArrayLike | None = None
) -> dict[str, Any]:
    """Rates at the threshold in use: `accuracy`, `balanced_accuracy`, `confusion_matrix`, `false_reject_rate`,
    `escape_rate`, `per_defect`, and `intervals` (exact binomial, 95 %).

    `defect_types` names each image's defect ("good" for good ones). `per_defect` gives for each type `num`,
    `num_escaped`, `escape_rate`, its `interval`, and `mean_score` if scores are given. Rates over no image are None.

    >>> operating_point([0, 1, 1], [False, True, False], ["good", "crack", "crack"])["escape_rate"]
    0.5
    """
    counts = confusion(labels, rejected)
    if len(defect_types) != counts.num_good + counts.num_defective:
        raise MetricError(f"operating_point needs one defect type per label; found {len(defect_types)}")
    is_defective, is_rejected = np.asarray(labels).astype(bool).ravel(), np.asarray(rejected, dtype=bool).ravel()
    values = None if scores is None else np.asarray(scores, dtype=np.float64).ravel()
    per_defect: dict[str, dict[str, Any]] = {}
    for defect_type in sorted({name for name, bad in zip(defect_types, is_defective, strict=True) if bad}):
        chosen = is_defective & np.array([name == defect_type for name in defect_types])
        num, escaped = int(chosen.sum()), int((chosen & ~is_rejected).sum())
        per_defect[defect_type] = {
            "num": num,
            "num_escaped": escaped,
            "escape_rate": escaped / num,
            "interval": list(clopper_pearson(escaped, num)),
        }
        if values is not None:
            per_defect[defect_type]["mean_score"] = float(values[chosen].mean())
    intervals: dict[str, list[float]] = {}
    if counts.num_good:
        intervals["false_reject_rate"] = list(clopper_pearson(counts.rejected_good, counts.num_good))
    if counts.num_defective:
        intervals["escape_rate"] = list(clopper_pearson(counts.accepted_defective, counts.num_defective))
    return {
        "accuracy": counts.accuracy,
        "balanced_accuracy": counts.balanced_accuracy,
        "confusion_matrix": {
            "accepted_good": counts.accepted_good,
            "rejected_good": counts.rejected_good,
            "accepted_defective": counts.accepted_defective,
            "rejected_defective": counts.rejected_defective,
        },
        "false_reject_rate": counts.false_reject_rate,
        "escape_rate": counts.escape_rate,
        "per_defect": per_defect,
        "intervals": intervals,
    }


def _resampled_levels(
    is_defective: NDArray[np.bool_], values: NDArray[np.floating[Any]], seed: int, resamples: int
) -> Levels:
    """The rankings of bootstrap samples, drawn apart from good and defective images."""
    distinct, at = np.unique(values, return_inverse=True)
    at = len(distinct) - 1 - at
    rng = np.random.default_rng(seed)
    counts = []
    for of_class in (~is_defective, is_defective):
        drawn = resample_counts(int(of_class.sum()), resamples, rng)
        # Images in the order of their levels, so that each level sums one stretch of columns.
        order = np.argsort(at[of_class], kind="stable")
        summed = np.zeros((resamples, len(drawn[0]) + 1), np.int64)
        np.cumsum(drawn[:, order], axis=1, out=summed[:, 1:])
        counts.append(np.diff(summed[:, np.searchsorted(at[of_class][order], np.arange(len(distinct) + 1))], axis=1))
    good, defective = counts
    return Levels(
        defective=defective,
        good=good,
        good_above=np.cumsum(good, axis=-1) - good,
        num_good=good.sum(axis=-1),
        overlap=np.empty(0),
        num_regions=np.asarray(0),
    )
