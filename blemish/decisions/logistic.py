"""Rising logistic curves by maximum likelihood, with likelihood-ratio bounds where all or nothing was hit, too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

_RIDGE = 1e-9  # far too weak to be seen, but it keeps slopes finite where hits and misses do not overlap
_MOST_STEPS = 60
_WIDEST = 60.0  # logits beyond this are certain to the last bit

_Values = NDArray[np.float64]


@dataclass(frozen=True)
class Logistic:
    """Hits over covariates: the logit of the chance of a hit is `intercept + slopes @ covariates`, no slope below 0.

    `covariates` (n, k) and `hits` (n,) are what it was fitted on, `intercept` and `slopes` (k,) the estimates.
    """

    covariates: _Values
    hits: _Values
    intercept: float
    slopes: _Values
    log_likelihood: float

    def logit(self, point: ArrayLike) -> float:
        """The logit at a point (k,)."""
        return self.intercept + float(self.slopes @ np.asarray(point, dtype=np.float64))

    def probability(self, point: ArrayLike) -> float:
        """The probability of a hit at a point (k,)."""
        return expit(self.logit(point))

    def bounds(self, point: ArrayLike, confidence: float) -> tuple[float, float]:
        """The limits of the probability at a point (k,), each of them one-sided with `confidence`, by likelihood ratio.

        A limit that the hits do not set is 0 or 1: where all were hits, the upper one.
        """
        at, quantile = np.asarray(point, dtype=np.float64), NormalDist().inv_cdf(confidence)
        return expit(self._edge(at, quantile, -1.0)), expit(self._edge(at, quantile, 1.0))

    def exceeds(self, point: ArrayLike, probability: float, confidence: float) -> bool:
        """Whether the lower limit of the probability at a point (k,) is at least `probability`."""
        at, logit = np.asarray(point, dtype=np.float64), math.log(probability / (1 - probability))
        return self.logit(at) >= logit and self._distance(at, logit) >= NormalDist().inv_cdf(confidence)

    def _edge(self, at: _Values, quantile: float, sign: float) -> float:
        """The logit on one side of the estimate that lies `quantile` away from it; infinite where none does."""
        inside = outside = float(np.clip(self.logit(at), -_WIDEST, _WIDEST))
        low, high, step = -quantile, -quantile, sign
        while high < 0:
            if abs(outside) >= _WIDEST and outside * sign > 0:
                return math.copysign(math.inf, sign)
            inside, low = outside, high
            outside, step = outside + step, 2 * step
            high = self._distance(at, outside) - quantile
        for _ in range(60):  # the false position, halved on the side that stays (Illinois)
            middle = (inside * high - outside * low) / (high - low)
            gap = self._distance(at, middle) - quantile
            if abs(gap) < 1e-6 or abs(outside - inside) < 1e-9:
                break
            if gap < 0:
                inside, low, high = middle, gap, high / 2
            else:
                outside, high, low = middle, gap, low / 2
        return middle

    def _distance(self, at: _Values, logit: float) -> float:
        """How many standard deviations a logit at a point is from the estimate: the root of the likelihood ratio."""
        shifted = self.covariates - at
        slopes = _maximize(shifted, self.hits, np.full(len(self.hits), logit), self.slopes, _penalty(self.covariates))
        likelihood = _log_likelihood(shifted @ slopes + logit, self.hits)
        return math.sqrt(max(0.0, 2 * (self.log_likelihood - likelihood)))


def fit_logistic(covariates: ArrayLike, hits: ArrayLike) -> Logistic:
    """The maximum likelihood fit for covariates (n, k) and hits (n,), bool.

    More of a covariate never makes a hit less likely: a slope that would be negative is 0. Where hits and misses do
    not overlap the slopes are very large.

    >>> fit = fit_logistic([[0], [0], [0], [0], [1], [1], [1], [1]], [0, 0, 0, 1, 0, 1, 1, 1])
    >>> round(fit.probability([0]), 3), round(fit.probability([1]), 3)
    (0.25, 0.75)
    """
    points, found = np.asarray(covariates, dtype=np.float64), np.asarray(hits, dtype=np.float64)
    center = points.mean(axis=0)
    design = np.column_stack([np.ones(len(found)), points - center])
    penalty = np.concatenate([[0.0], _penalty(points)])
    start = np.zeros(design.shape[1])
    level, *slopes = _maximize(design, found, np.zeros(len(found)), start, penalty, num_free=1)
    likelihood = _log_likelihood(design @ (level, *slopes), found)
    return Logistic(points, found, float(level - center @ slopes), np.array(slopes), likelihood)


def expit(logit: float) -> float:
    """The probability that belongs to a logit.

    >>> expit(0.0), expit(-math.inf)
    (0.5, 0.0)
    """
    return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0


def _maximize(
    design: _Values, hits: _Values, offset: _Values, start: _Values, penalty: _Values, num_free: int = 0
) -> _Values:
    """The coefficients of the largest likelihood with an offset of each logit; after `num_free` none is below 0."""
    best = _climb(design, hits, offset, start, penalty)
    if (best[num_free:] >= 0).all():
        return best
    columns = range(design.shape[1])
    found = []
    for count in range(len(columns) - num_free):
        for chosen in combinations(columns[num_free:], count):
            kept = [*columns[:num_free], *chosen]
            coefficients = np.zeros(len(columns))
            coefficients[kept] = _climb(design[:, kept], hits, offset, start[kept], penalty[kept])
            if (coefficients[num_free:] >= 0).all():
                found.append((_log_likelihood(design @ coefficients + offset, hits), tuple(coefficients)))
    return np.array(max(found)[1])


def _climb(design: _Values, hits: _Values, offset: _Values, start: _Values, penalty: _Values) -> _Values:
    """The coefficients of the largest likelihood by Newton's method, steps halved where they lead down."""
    coefficients = start

    def height(values: _Values) -> float:
        return _log_likelihood(design @ values + offset, hits) - float(penalty @ values**2) / 2

    now = height(coefficients)
    for _ in range(_MOST_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ coefficients + offset, -_WIDEST, _WIDEST)))
        slope = design.T @ (hits - chance) - penalty * coefficients
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, slope)
        share = 1.0
        while share > 1e-8 and height(coefficients + share * step) < now:
            share /= 2
        coefficients = coefficients + share * step
        before, now = now, height(coefficients)
        if now - before < 1e-10:
            break
    return coefficients


def _penalty(covariates: _Values) -> _Values:
    """What each slope's square costs; more than nothing for a covariate that never varies."""
    spread: _Values = covariates.var(axis=0)
    return _RIDGE * len(covariates) * np.where(spread > 0, spread, 1.0)


def _log_likelihood(logits: _Values, hits: _Values) -> float:
    return float((hits * logits - np.logaddexp(0, logits)).sum())
