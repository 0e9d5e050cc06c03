"""What an order statistic of good scores promises about future good parts, for scores of any distribution.

With n good scores and m of them over a threshold, a future good part lies over it with a probability of at most
(m + 1) / (n + 1), on average over all draws of the n (conformal prediction; Vovk, Gammerman and Shafer 2005). For
the n at hand the share of future good parts over the threshold is at most the upper Clopper-Pearson bound of m in n,
with the stated confidence (Wilks 1941: the coverage of an order statistic is Beta distributed). Ties and atoms only
make both safer, because a part at the threshold is not rejected.

Several images of nearly the same part are one draw, not several: n counts parts then, and each image adds its share
of its part to m. The average holds as before, since the parts are exchangeable; the limit takes the Beta bound at the
fractional m, which simulation shows to be safe (`benchmarks/promise_simulation.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from blemish.errors import CalibrationError
from blemish.metrics.intervals import beta_quantile
from blemish.schema import Promise

LIMIT_CONFIDENCE = 0.95
"""Confidence of the limit that stands beside the average, where none is asked for."""
FEWEST_FOR_ONE_OVER = 20
"""From so many good parts on, one of them may always lie over the threshold: no single odd part sets it."""
ROUNDING = 1e-9


def supported_rate(num_parts: int, parts_over: float, confidence: float) -> float:
    """The limit of the rate: what is not exceeded with `confidence` where `parts_over` lie over the threshold.

    >>> round(supported_rate(209, 0, 0.95), 4)
    0.0142
    """
    if parts_over >= num_parts:
        return 1.0
    return beta_quantile(confidence, parts_over + 1, num_parts - parts_over)


def images_needed(rate: float, confidence: float | None = None) -> int:
    """The fewest good images that support a rate.

    On average: those of which one may lie over the threshold. With a confidence: those whose limit is the rate where
    none lies over the threshold.

    >>> images_needed(0.05), images_needed(0.01), images_needed(0.01, 0.95)
    (39, 199, 299)
    """
    # The small factor keeps a quotient that is a whole number from being pushed up by rounding.
    if confidence is None:
        return max(1, math.ceil(2 / rate * (1 - 1e-12)) - 1)
    return max(1, math.ceil(math.log1p(-confidence) / math.log1p(-rate) * (1 - 1e-12)))


def make_promise(
    num_good: int,
    wanted_rate: float,
    confidence: float | None = None,
    *,
    shares: Sequence[float] | NDArray[np.float64] | None = None,
) -> Promise:
    """The promise nearest to the wanted rate that so many good images can express.

    Without `confidence` the wanted rate is meant on average. With 20 parts or more at least one lies over the
    threshold, so that no single odd image sets it. With `confidence` the wanted rate is a limit: as many images lie
    over the threshold as keep it, perhaps none. `shares` belong to the images from the largest score to the smallest:
    1 divided by the number of images of the same part (left out: each image is a part of its own).

    >>> promise = make_promise(50, 0.05)
    >>> promise.num_over, round(promise.average_rate, 4), round(promise.limit, 4)
    (2, 0.0588, 0.1206)
    """
    over = parts_over_of(num_good, shares)
    num_parts = round(float(over[-1]))
    rates = (over[:-1] + 1) / (num_parts + 1)
    if confidence is None:
        least = 1.0 if num_parts >= FEWEST_FOR_ONE_OVER else 0.0
        allowed = np.flatnonzero(over[:-1] >= least - ROUNDING)
        distances = np.abs(rates[allowed] - wanted_rate)
        num_over = int(allowed[np.flatnonzero(distances <= distances.min() + ROUNDING)[0]])
    else:
        num_over = 0
        while num_over + 1 < num_good and supported_rate(num_parts, over[num_over + 1], confidence) <= wanted_rate:
            num_over += 1
    return promise_of(num_good, num_over, wanted_rate, confidence, shares=shares)


def promise_of(
    num_good: int,
    num_over: int,
    wanted_rate: float,
    confidence: float | None = None,
    *,
    shares: Sequence[float] | NDArray[np.float64] | None = None,
    num_candidates: int = 1,
) -> Promise:
    """The promise of a threshold with `num_over` good images over it.

    Where data chose among `num_candidates` thresholds, each limit is taken at a confidence (Bonferroni) with which all
    hold at once.
    """
    over = parts_over_of(num_good, shares)
    num_parts = round(float(over[-1]))
    reading: Literal["average", "limit"] = "average" if confidence is None else "limit"
    stated = LIMIT_CONFIDENCE if confidence is None else confidence
    each = 1 - (1 - stated) / num_candidates
    return Promise(
        wanted_rate=wanted_rate,
        limit=supported_rate(num_parts, float(over[num_over]), each),
        confidence=stated,
        num_good=num_good,
        num_over=num_over,
        num_parts=num_parts,
        parts_over=min(float(over[num_over]), num_parts),
        num_needed=images_needed(wanted_rate, None if reading == "average" else each),
        reading=reading,
        num_candidates=num_candidates,
    )


def parts_over_of(num_good: int, shares: Sequence[float] | NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """How many parts lie over the threshold where 0, 1, ... `num_good` images do: float64 (num_good + 1,).

    >>> parts_over_of(4, [0.5, 1, 0.5, 1]).tolist()
    [0.0, 0.5, 1.5, 2.0, 3.0]
    """
    if num_good < 1:
        raise CalibrationError("no good score; a calibration needs good images that were not used in the fit")
    each = np.ones(num_good) if shares is None else np.asarray(shares, np.float64)
    if len(each) != num_good:
        raise CalibrationError(f"{num_good} good images but {len(each)} shares of parts; give one for each image")
    return np.concatenate([[0.0], np.cumsum(each)])


def chance_of_rejects(num_over: int, num_new: int, promise: Promise) -> float:
    """How likely so many or more of `num_new` new good parts lie over the threshold, if the promise holds.

    The number is beta-binomial: the share over the threshold is itself drawn with the good images (Beta), and each new
    part then with that share.

    >>> round(chance_of_rejects(1, 20, make_promise(39, 0.05)), 3)
    0.567
    """
    over, under = promise.parts_over + 1, promise.num_parts - promise.parts_over
    if under <= 0:
        return 1.0
    log_beta = _log_beta(over, under)
    total = sum(
        math.exp(
            math.lgamma(num_new + 1)
            - math.lgamma(count + 1)
            - math.lgamma(num_new - count + 1)
            + _log_beta(over + count, under + num_new - count)
            - log_beta
        )
        for count in range(num_over)
    )
    return min(1.0, max(0.0, 1.0 - total))


def _log_beta(first: float, second: float) -> float:
    return math.lgamma(first) + math.lgamma(second) - math.lgamma(first + second)


def promise_sentence(promise: Promise, *, verb: str = "are rejected") -> str:
    """The promise in words: on average, and with confidence; from how many images; what more images would give.

    >>> promise_sentence(make_promise(209, 0.05))
    'On average at most 4.76 % of good parts are rejected; with 95 % confidence at most 7.39 %. 209 good images, 9 of \
them over the threshold.'
    """
    average, limit = percent(promise.average_rate), percent(promise.limit)
    confidence = percent(promise.confidence)
    if promise.num_candidates > 1:
        sentence = f"About {average} of good parts {verb}; with {confidence} confidence at most {limit}."
    elif promise.reading == "limit":
        limit = percent(promise.wanted_rate) if promise.is_kept else limit
        sentence = f"With {confidence} confidence at most {limit} of good parts {verb}; on average at most {average}."
    else:
        sentence = f"On average at most {average} of good parts {verb}; with {confidence} confidence at most {limit}."
    parts = "" if promise.num_parts == promise.num_good else f" of {promise.num_parts:,} different parts"
    sentence += f" {_images(promise.num_good)}{parts}, {promise.num_over:,} of them over the threshold."
    if promise.is_kept or promise.num_candidates > 1:
        return sentence
    return f"{sentence} {percent(promise.wanted_rate)} needs {promise.num_needed:,}."


def assumption_sentence(method: str) -> str:
    """What must be true for the promise to hold, with what the way of calibrating adds to it."""
    common = "This holds as long as parts and pictures stay like the good images (exchangeable with them)."
    if method == "split":
        return f"{common} The good images were kept out of the fit, so the figures are exact."
    return (
        f"{common} Each good image was scored by a model fitted without it, so the figures are approximate; "
        "calibrate with a split for exact ones."
    )


def percent(share: float) -> str:
    """A share as percent with three significant digits: `0.0142` is "1.42 %"."""
    return f"{100 * share:.3g} %"


def _images(number: int) -> str:
    return f"{number:,} good image{'' if number == 1 else 's'}"
