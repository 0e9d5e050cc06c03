"""The threshold of least expected cost, from good scores and a handful of defective ones or an assumed shift."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blemish.decisions.promise import percent
from blemish.errors import CalibrationError
from blemish.metrics.intervals import clopper_pearson
from blemish.schema import CostCurve, Costs

NUM_POINTS = 100
"""The most points of a stored curve; the best threshold is chosen among all."""


def cost_curve(
    good_scores: ArrayLike,
    costs: Costs,
    *,
    defective_scores: ArrayLike | None = None,
    assumed_shift: float = 4.0,
    confidence: float = 0.95,
) -> CostCurve:
    """Expected cost per part over the threshold, its uncertainty and its minimum.

    A part costs `reject` with the probability that it is good and over the threshold, and `escape` with the
    probability that it is defective and not over it. Without defective scores, defects are assumed to score
    `assumed_shift` standard deviations of the good scores higher than good parts. The bounds hold with `confidence` at
    each single threshold (exact limits of both rates together); what was assumed about defects is not part of them.
    """
    good = _checked("good", good_scores)
    shift = None
    if defective_scores is None:
        shift = assumed_shift * float(good.std())
        defective = good + shift
    else:
        defective = _checked("defective", defective_scores)
    thresholds = _candidates(np.concatenate([good, defective]))
    num_over = len(good) - np.searchsorted(good, thresholds, side="right")
    num_under = np.searchsorted(defective, thresholds, side="right")
    weight_reject = costs.reject * (1 - costs.defect_rate)
    weight_escape = costs.escape * costs.defect_rate
    expected = weight_reject * num_over / len(good) + weight_escape * num_under / len(defective)
    best = int(expected.argmin())
    shown = np.unique(np.append(np.linspace(0, len(thresholds) - 1, NUM_POINTS).round().astype(np.intp), best))
    # Each rate may leave its limits with half of the risk, so that both stay within with the whole confidence.
    each = (1 + confidence) / 2
    rejects = np.array([_limits(int(num_over[point]), len(good), each) for point in shown])
    escapes = np.array([_limits(int(num_under[point]), len(defective), each) for point in shown])
    bounds = weight_reject * rejects + weight_escape * escapes
    return CostCurve(
        costs=costs,
        thresholds=tuple(thresholds[shown].tolist()),
        expected=tuple(expected[shown].tolist()),
        low=tuple(bounds[:, 0].tolist()),
        high=tuple(bounds[:, 1].tolist()),
        best_threshold=float(thresholds[best]),
        best_cost=float(expected[best]),
        confidence=confidence,
        num_defective=0 if defective_scores is None else len(defective),
        assumed_shift=shift,
    )


def cost_sentence(curve: CostCurve) -> str:
    """What the costs lead to and what was assumed."""
    point = curve.thresholds.index(curve.best_threshold)
    sentence = (
        f"With {curve.costs.escape:g} per escape, {curve.costs.reject:g} per false reject and "
        f"{percent(curve.costs.defect_rate)} defective parts the expected cost is least at the threshold "
        f"{curve.best_threshold:.4g}: {curve.best_cost:.3g} per part "
        f"({curve.low[point]:.3g} to {curve.high[point]:.3g} with {percent(curve.confidence)} confidence)."
    )
    if curve.assumed_shift is not None:
        return (
            f"{sentence} No defective image was at hand: it was assumed that defects score as good parts do, plus "
            f"{curve.assumed_shift:.4g}. Give a few defective images to replace this assumption."
        )
    number = "1 defective image" if curve.num_defective == 1 else f"{curve.num_defective:,} defective images"
    return f"{sentence} The escape rate is measured on {number}."


@lru_cache(maxsize=4096)
def _limits(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """Neighboring points and later curves of as many images ask for the same limits."""
    return clopper_pearson(successes, trials, confidence)


def _candidates(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """One threshold for each way to cut the scores, midway between neighbors; the last rejects none of them.

    The first rejects all of them: as far below the least score as the next lies above it.
    """
    distinct = np.unique(scores)
    middles = (distinct[:-1] + distinct[1:]) / 2
    first = distinct[0] - (distinct[1] - distinct[0] if len(distinct) > 1 else 1.0)
    return np.concatenate([[first], middles, distinct[-1:]])


def _checked(what: str, scores: ArrayLike) -> NDArray[np.float64]:
    array = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if not len(array):
        raise CalibrationError(f"no {what} score to weigh costs with; give at least one")
    if not np.isfinite(array).all():
        raise CalibrationError(f"{int((~np.isfinite(array)).sum())} {what} scores are not finite numbers")
    return array
