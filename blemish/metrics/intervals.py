"""How far a measured rate or AUROC can be from the truth: limits that hold for few images and near 0 and 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

from blemish.errors import MetricError


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact two-sided limits of a rate (Clopper and Pearson 1934), at least as sure as `confidence`.

    >>> [round(limit, 4) for limit in clopper_pearson(0, 20)]
    [0.0, 0.1684]
    """
    if not 0 <= successes <= trials or trials == 0:
        raise MetricError(f"a rate needs at least one trial and no more successes than trials: {successes} of {trials}")
    tail = _tail(confidence)
    low = beta_quantile(tail, successes, trials - successes + 1) if successes > 0 else 0.0
    high = 1.0 - beta_quantile(tail, trials - successes, successes + 1) if successes < trials else 1.0
    return low, high


def auroc_interval(auroc: float, num_good: int, num_defective: int, confidence: float = 0.95) -> tuple[float, float]:
    """The limits of an AUROC from its value and the counts alone (Newcombe 2006, method 5).

    It keeps its promise near 1, where a bootstrap does not: a perfect ranking of few images is no proof.

    >>> [round(limit, 3) for limit in auroc_interval(1.0, 20, 63)]
    [0.934, 1.0]
    """
    quantile = NormalDist().inv_cdf(1 - _tail(confidence))
    extra = (num_good + num_defective) / 2 - 1

    def is_likely(truth: float) -> bool:
        spread = 1 + extra * (1 - truth) / (2 - truth) + extra * truth / (1 + truth)
        deviation = math.sqrt(truth * (1 - truth) * spread / (num_good * num_defective))
        return abs(truth - auroc) <= quantile * deviation

    return _edge(is_likely, auroc, 0.0), _edge(is_likely, auroc, 1.0)


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """The limits of a median, whatever the distribution: two of the values in order (sign test); None from too few.

    >>> median_interval([5, 3, 8, 1, 9, 2, 7])
    (1, 9)
    """
    ordered, count = sorted(values), len(values)
    below, chance = -1, 0.0
    while below + 1 < count:
        chance += math.comb(count, below + 1) / 2**count
        if chance > _tail(confidence):
            break
        below += 1
    return None if below < 0 else (ordered[below], ordered[count - 1 - below])


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The value below which a beta-distributed number (a, b > 0) lies with the given probability."""
    return _edge(lambda x: beta_cdf(x, a, b) <= probability, 0.0, 1.0)


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function, by its continued fraction (modified Lentz)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - beta_cdf(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    numerator, inverse = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1))
    fraction, m = inverse, 0
    step = 0.0
    while abs(step - 1.0) > 1e-15:
        m += 1
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        inverse, numerator = 1.0 / (1.0 + even * inverse), 1.0 + even / numerator
        fraction *= inverse * numerator
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        inverse, numerator = 1.0 / (1.0 + odd * inverse), 1.0 + odd / numerator
        step = inverse * numerator
        fraction *= step
    return math.exp(log_front) * fraction / a


def _tail(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise MetricError(f"a confidence lies between 0 and 1; found {confidence}")
    return (1 - confidence) / 2


def _edge(holds: Callable[[float], bool], inside: float, outside: float) -> float:
    """The last number on the way from `inside` to `outside` at which a condition holds, to the last bit."""
    if holds(outside):
        return outside
    while True:
        middle = (inside + outside) / 2
        if middle in (inside, outside):
            return inside
        if holds(middle):
            inside = middle
        else:
            outside = middle
