"""What an order statistic of good scores promises about future good parts, for scores of any distribution.

With n good scores and m of them over a threshold, the share of future good parts over it is at most the upper
Clopper-Pearson bound of m in n (Wilks 1941: the coverage of an order statistic is Beta distributed). Ties and atoms
only make the promise safer, because a part at the threshold is not rejected.
"""

from __future__ import annotations

import math

from blemish.errors import CalibrationError
from blemish.metrics.intervals import beta_cdf, beta_quantile
from blemish.schema import Promise


def supported_rate(num_good: int, num_over: int, confidence: float) -> float:
    """The smallest rate that `num_good` scores with `num_over` of them over the threshold support.

    >>> round(supported_rate(209, 0, 0.95), 4)
    0.0142
    """
    return 1.0 if num_over >= num_good else beta_quantile(confidence, num_over + 1, num_good - num_over)


def images_needed(rate: float, confidence: float) -> int:
    """The fewest good images that support a rate, with none of their scores over the threshold.

    >>> images_needed(0.01, 0.95), images_needed(0.005, 0.95)
    (299, 598)
    """
    # The small factor keeps a quotient that is a whole number from being pushed up by rounding.
    return max(1, math.ceil(math.log1p(-confidence) / math.log1p(-rate) * (1 - 1e-12)))


def make_promise(num_good: int, wanted_rate: float, confidence: float) -> Promise:
    """The promise with the lowest threshold that supports the wanted rate, or else that of the largest good score."""
    if num_good < 1:
        raise CalibrationError("no good score; a calibration needs good images that were not used in the fit")
    num_over = 0
    while num_over + 1 < num_good and beta_cdf(wanted_rate, num_over + 2, num_good - num_over - 1) >= confidence:
        num_over += 1
    return promise_of(num_good, num_over, wanted_rate, confidence)


def promise_of(
    num_good: int, num_over: int, wanted_rate: float, confidence: float, *, num_candidates: int = 1
) -> Promise:
    """The promise of a threshold with `num_over` good scores over it.

    Where data chose among `num_candidates` thresholds, each bound is taken at a confidence (Bonferroni) with which all
    hold at once.
    """
    each = 1 - (1 - confidence) / num_candidates
    return Promise(
        wanted_rate=wanted_rate,
        rate=supported_rate(num_good, num_over, each),
        confidence=confidence,
        num_good=num_good,
        num_over=num_over,
        num_needed=images_needed(wanted_rate, each),
        num_candidates=num_candidates,
    )


def promise_sentence(promise: Promise, *, verb: str = "are rejected") -> str:
    """The promise in words: what is promised, from how many images, and what more images would give.

    >>> promise_sentence(make_promise(209, 0.005, 0.95))
    'At most 1.42 % of good parts are rejected, with 95 % confidence. 209 good images support no less; 0.5 % needs 598.'
    """
    rate = promise.wanted_rate if promise.is_kept else promise.rate
    sentence = f"At most {percent(rate)} of good parts {verb}, with {percent(promise.confidence)} confidence."
    if promise.is_kept:
        return f"{sentence} {_images(promise.num_good)}, {promise.num_over} of them over the threshold."
    if promise.num_over:
        return f"{sentence} {_images(promise.num_good)}, {promise.num_over} of them over the threshold."
    return (
        f"{sentence} {_images(promise.num_good)} support no less; "
        f"{percent(promise.wanted_rate)} needs {promise.num_needed:,}."
    )


def assumption_sentence(method: str) -> str:
    """What must be true for the promise to hold, with what the way of calibrating adds to it."""
    common = "This holds as long as parts and pictures stay like the good images (exchangeable with them)."
    if method == "split":
        return f"{common} The good images were kept out of the fit, so the figure is exact."
    return (
        f"{common} Each good image was scored by a model fitted on the others, so the figure is approximate; "
        "calibrate with a split for an exact one."
    )


def percent(share: float) -> str:
    """A share as percent with three significant digits: `0.0142` is "1.42 %"."""
    return f"{100 * share:.3g} %"


def _images(number: int) -> str:
    return f"{number:,} good image{'' if number == 1 else 's'}"
