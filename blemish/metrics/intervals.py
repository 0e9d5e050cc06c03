"""How far a measured number can be from the truth: exact binomial limits, the bootstrap over images, DeLong."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from blemish.errors import MetricError


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact two-sided limits of a rate (Clopper and Pearson 1934), at least as sure as `confidence`.

    >>> [round(limit, 4) for limit in clopper_pearson(0, 20)]
    [0.0, 0.1684]
    """
    if not 0 <= successes <= trials or trials == 0:
        raise MetricError(f"a rate needs at least one trial and no more successes than trials: {successes} of {trials}")
    if not 0 < confidence < 1:
        raise MetricError(f"a confidence lies between 0 and 1; found {confidence}")
    tail = (1 - confidence) / 2
    low = beta_quantile(tail, successes, trials - successes + 1) if successes > 0 else 0.0
    high = beta_quantile(1 - tail, successes + 1, trials - successes) if successes < trials else 1.0
    return low, high


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The value below which a beta-distributed number (a, b > 0) lies with the given probability."""
    low, high = 0.0, 1.0
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return middle
        if beta_cdf(middle, a, b) < probability:
            low = middle
        else:
            high = middle


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function, by its continued fraction (modified Lentz)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - beta_cdf(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    tiny = 1e-300
    c, d = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1) or tiny)
    fraction = d
    for m in range(1, 100_000):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / (1.0 + factor * d or tiny)
            c = 1.0 + factor / c or tiny
            fraction *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return math.exp(log_front) * fraction / a


def resample_counts(num_images: int, resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each image is drawn in each bootstrap sample: (resamples, images), each row adding up to the images."""
    drawn = rng.integers(0, num_images, (resamples, num_images))
    drawn += np.arange(resamples)[:, np.newaxis] * num_images
    return np.bincount(drawn.ravel(), minlength=resamples * num_images).reshape(resamples, num_images)


def percentile_interval(draws: NDArray[np.float64], confidence: float = 0.95) -> list[float]:
    """The limits between which the middle share of the bootstrap's results lies."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    return [float(low), float(high)]
