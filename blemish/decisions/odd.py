"""Good images that lift the threshold: what each of them costs, so that a person can decide about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from blemish.decisions.promise import make_promise
from blemish.decisions.wishes import CalibrationSettings

MOST_ODD = 3
LIFT = 0.25
"""A threshold is lifted when it lies so much higher, as a share of its distance to the median good score."""


@dataclass(frozen=True)
class OddImage:
    """A good image that lifts the threshold: its place, and the threshold without it and those that score higher."""

    place: int
    threshold_without: float


def odd_images(
    scores: ArrayLike, wishes: CalibrationSettings, *, shares: ArrayLike | None = None
) -> tuple[OddImage, ...]:
    """The one to three highest good images without which the threshold would be clearly lower, the highest first.

    `scores` and `shares` are those of `calibrate`. Where costs choose the threshold there are none.

    >>> odd_images([*range(9), 100], CalibrationSettings())
    (OddImage(place=9, threshold_without=8.0),)
    """
    values = np.asarray(scores, np.float64).ravel()
    each = np.ones(len(values)) if shares is None else np.asarray(shares, np.float64).ravel()
    if wishes.costs is not None or len(values) < 2 * MOST_ODD:
        return ()
    order = np.argsort(-values, kind="stable")

    def threshold(skipped: int) -> float:
        left = order[skipped:]
        promise = make_promise(len(left), wishes.false_reject, wishes.confidence, shares=each[left])
        return float(values[left[promise.num_over]])

    present, median = threshold(0), float(np.median(values))
    steps = [present, *(threshold(skipped) for skipped in range(1, MOST_ODD + 1))]
    least = LIFT * (present - median)
    count = max(
        (number for number in range(1, MOST_ODD + 1) if steps[number - 1] - steps[number] >= least > 0), default=0
    )
    return tuple(OddImage(int(order[number]), steps[number + 1]) for number in range(count))
