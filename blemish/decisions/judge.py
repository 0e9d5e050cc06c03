"""One score -> decision, p-value and display score."""

from __future__ import annotations

import math
from bisect import bisect_left

from blemish.errors import CalibrationError
from blemish.schema import Calibration, Decision, Judgement


def judge(score: float, calibration: Calibration) -> Judgement:
    """The decision about a raw anomaly score; a score equal to a threshold is not over it."""
    if math.isnan(score):
        raise CalibrationError("the anomaly score is not a number; check the picture and the graph")
    return Judgement(
        decision=decide(score, calibration),
        p_value=p_value(score, calibration.good_scores, calibration.good_shares),
        display_score=display_score(score, calibration),
    )


def decide(score: float, calibration: Calibration) -> Decision:
    """Reject over the image threshold, review over the review threshold, accept otherwise."""
    if score > calibration.image_threshold:
        return "reject"
    if calibration.review_threshold is not None and score > calibration.review_threshold:
        return "review"
    return "accept"


def p_value(score: float, good_scores: tuple[float, ...], shares: tuple[float, ...] = ()) -> float:
    """The conformal p-value: the share of good parts that score at least as high, counting the judged part itself.

    On good parts it is at most u with probability at most u, whatever the distribution of scores. `good_scores` is
    sorted; `shares` are those of `Calibration.good_shares`. The smallest value is `1 / (n + 1)` of n parts.

    >>> p_value(0.35, (0.1, 0.2, 0.3, 0.4)), p_value(0.35, (0.1, 0.3, 0.4), (1.0, 0.5, 0.5))
    (0.4, 0.5)
    """
    place = bisect_left(good_scores, score)
    if not shares:
        return (1 + len(good_scores) - place) / (len(good_scores) + 1)
    return (1 + math.fsum(shares[place:])) / (math.fsum(shares) + 1)


def display_score(score: float, calibration: Calibration) -> float:
    """A score for people: 0 to 100, 50 at the threshold, 25 at the median good score; never used to decide.

    Linear below the threshold; above it, it nears 100 without reaching it, so that worse parts still score higher.
    """
    distance = (score - calibration.image_threshold) / calibration.display_spread
    if distance <= 0:
        return max(0.0, 50 + 25 * distance)
    return 100 - 50 / (1 + distance / 2) if math.isfinite(distance) else 100.0
