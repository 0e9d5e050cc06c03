"""All numbers of an evaluation, named as in the JSON, each with its interval; what a workflow calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from blemish.errors import MetricError
from blemish.metrics.bootstrap import image_draws, percentile_interval
from blemish.metrics.intervals import auroc_interval, clopper_pearson
from blemish.metrics.levels import Levels, Metric, auroc_of, average_precision_of, checked, f1_max_of, levels_of
from blemish.metrics.operating import Confusion, confusion, separation_ratio

IMAGE_METRICS: dict[str, Metric] = {
    "image_auroc": auroc_of,
    "image_ap": average_precision_of,
    "image_f1_max": f1_max_of,
}


def image_metrics(labels: ArrayLike, scores: ArrayLike, *, seed: int = 0, resamples: int = 1000) -> dict[str, Any]:
    """`image_auroc`, `image_ap`, `image_f1_max`, `separation_ratio`, the counts of images, and `intervals`.

    Intervals are of 95 % by the bootstrap, stratified over good and defective images. `separation_ratio` is None
    where good images do not score above 0 on average. Raises `MetricError` unless both classes are there.

    >>> image_metrics([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])["image_auroc"]
    0.75
    """
    is_defective, values = checked(labels, scores, "image_auroc")
    levels = levels_of(is_defective, values, "image_auroc")
    found = {name: float(metric(levels)) for name, metric in IMAGE_METRICS.items()}
    num_defective = int(np.count_nonzero(is_defective))
    num_good = len(values) - num_defective
    intervals = {}
    if min(num_good, num_defective) > 1:
        draws = image_draws(IMAGE_METRICS, is_defective, values, seed, resamples)
        reach = _reach(found["image_auroc"], num_good, num_defective)
        for name, drawn in draws.items():
            low, high = percentile_interval(drawn)
            if name == "image_f1_max":
                # The best of all thresholds is too good for a new test set, and a bootstrap is as much too good again.
                low = min(low, 2 * found[name] - high)
            down, up = reach[name]
            intervals[name] = [max(0.0, min(low, found[name] - down)), min(1.0, max(high, found[name] + up))]
    try:
        ratio: float | None = separation_ratio(is_defective, values)
    except MetricError:
        ratio = None
    return {
        **found,
        "separation_ratio": ratio,
        "num_good": num_good,
        "num_defective": num_defective,
        "intervals": intervals,
    }


def operating_point(
    labels: ArrayLike,
    rejected: ArrayLike,
    defect_types: Sequence[str],
    *,
    scores: ArrayLike | None = None,
    reviewed: ArrayLike | None = None,
) -> dict[str, Any]:
    """Rates at the threshold in use: `accuracy`, `balanced_accuracy`, `confusion_matrix`, `false_reject_rate`,
    `escape_rate`, `per_defect`, and `intervals` (exact binomial, 95 %).

    `defect_types` names each image's defect ("good" for good ones). `per_defect` gives for each type `num`,
    `num_escaped`, `escape_rate`, its `interval`, and `mean_score` if scores are given. Rates over no image are None.
    What was `reviewed`, put up for a person to decide, has neither escaped nor been rejected, nor been judged rightly.

    >>> operating_point([0, 1, 1], [False, True, False], ["good", "crack", "crack"])["escape_rate"]
    0.5
    """
    counts = confusion(labels, rejected, reviewed)
    if len(defect_types) != counts.num_good + counts.num_defective:
        raise MetricError(f"operating_point needs one defect type per label; found {len(defect_types)}")
    is_defective, is_stopped = np.asarray(labels).astype(bool).ravel(), np.asarray(rejected, dtype=bool).ravel()
    if reviewed is not None:
        is_stopped = is_stopped | np.asarray(reviewed, dtype=bool).ravel()
    values = None if scores is None else np.asarray(scores, dtype=np.float64).ravel()
    per_defect: dict[str, dict[str, Any]] = {}
    for defect_type in sorted({name for name, bad in zip(defect_types, is_defective, strict=True) if bad}):
        chosen = is_defective & np.array([name == defect_type for name in defect_types])
        num, escaped = int(chosen.sum()), int((chosen & ~is_stopped).sum())
        per_defect[defect_type] = {
            "num": num,
            "num_escaped": escaped,
            "escape_rate": escaped / num,
            "interval": list(clopper_pearson(escaped, num)),
        }
        if values is not None:
            per_defect[defect_type]["mean_score"] = float(values[chosen].mean())
    return {
        "accuracy": counts.accuracy,
        "balanced_accuracy": counts.balanced_accuracy,
        "confusion_matrix": {
            "accepted_good": counts.accepted_good,
            "rejected_good": counts.rejected_good,
            "accepted_defective": counts.accepted_defective,
            "rejected_defective": counts.rejected_defective,
            "review_good": counts.review_good,
            "review_defective": counts.review_defective,
        },
        "false_reject_rate": counts.false_reject_rate,
        "escape_rate": counts.escape_rate,
        "per_defect": per_defect,
        "intervals": _rate_intervals(counts),
    }


def _rate_intervals(counts: Confusion) -> dict[str, list[float]]:
    """Exact limits, of 95 %, of the rates that are defined."""
    good, defective = counts.num_good, counts.num_defective
    rates = {
        "accuracy": (counts.accepted_good + counts.rejected_defective, good + defective),
        "false_reject_rate": (counts.rejected_good, good),
        "escape_rate": (counts.accepted_defective, defective),
    }
    intervals = {name: list(clopper_pearson(*rate)) for name, rate in rates.items() if rate[1]}
    if good and defective:
        # Two intervals of 97.5 % hold together in at least 95 % of cases, so their mean does.
        accepted = clopper_pearson(counts.accepted_good, good, 0.975)
        rejected = clopper_pearson(counts.rejected_defective, defective, 0.975)
        intervals["balanced_accuracy"] = [(a + b) / 2 for a, b in zip(accepted, rejected, strict=True)]
    return intervals


def _reach(auroc: float, num_good: int, num_defective: int) -> dict[str, tuple[float, float]]:
    """How far down and up each image-level metric may lie for want of images, whatever a bootstrap shows.

    A bootstrap cannot draw what the test set lacks: near a perfect ranking its interval shrinks to nothing. So AUROC
    goes at least as far as its own interval, and the others as far as that carries them if scores of both classes
    are two normal distributions of one width.
    """
    modelled = [
        _two_normals(value, num_good, num_defective)
        for value in (auroc, *auroc_interval(auroc, num_good, num_defective))
    ]
    reach = {}
    for name, metric in IMAGE_METRICS.items():
        here, low, high = (float(metric(levels)) for levels in modelled)
        reach[name] = (here - low, high - here)
    return reach


def _two_normals(auroc: float, num_good: int, num_defective: int) -> Levels:
    """The ranking of two classes whose scores are normally distributed, with one width and the given AUROC."""
    distance = math.sqrt(2) * NormalDist().inv_cdf(min(max(auroc, 1e-9), 1 - 1e-9))
    falling = np.linspace(9.0 + max(distance, 0.0), -9.0 + min(distance, 0.0), 2000)
    good, defective = (
        np.diff([count * math.erfc((score - center) / math.sqrt(2)) / 2 for score in falling])
        for count, center in ((num_good, 0.0), (num_defective, distance))
    )
    above = np.cumsum(good) - good
    return Levels(defective, good, above, np.asarray(good.sum()), np.empty(0), np.asarray(0))
