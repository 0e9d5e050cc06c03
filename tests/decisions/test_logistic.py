"""Logistic regression: published and independent results, bounds that hold, and hits that leave nothing to fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize, stats

from blemish.decisions.logistic import expit, fit_logistic


def bliss() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Beetles killed by doses of carbon disulphide (Bliss 1935), the standard example of a dose-response curve."""
    doses = (1.6907, 1.7242, 1.7552, 1.7842, 1.8113, 1.8369, 1.8610, 1.8839)
    numbers, killed = (59, 60, 62, 56, 63, 59, 62, 60), (6, 13, 18, 28, 52, 53, 61, 60)
    rows = [
        (dose, hit) for dose, n, k in zip(doses, numbers, killed, strict=True) for hit in [1.0] * k + [0.0] * (n - k)
    ]
    table = np.array(rows)
    return table[:, :1], table[:, 1]


def drawn(num: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    points = rng.normal(3, 1.5, (num, 2))
    return points, (rng.random(num) < 1 / (1 + np.exp(-(1.5 * points[:, 0] + 0.8 * points[:, 1] - 6)))).astype(float)


def negative_likelihood(
    coefficients: NDArray[np.float64], points: NDArray[np.float64], hits: NDArray[np.float64]
) -> float:
    logits = coefficients[0] + points @ coefficients[1:]
    return float(np.logaddexp(0, logits).sum() - hits @ logits)


def test_the_published_fit_is_found_again() -> None:
    """Dobson, An Introduction to Generalized Linear Models, table 7.3: -60.72 and 34.27."""
    fit = fit_logistic(*bliss())
    assert fit.intercept == pytest.approx(-60.717, abs=0.001)
    assert fit.slopes[0] == pytest.approx(34.270, abs=0.001)


@pytest.mark.parametrize("seed", range(4))
def test_estimates_are_those_of_a_general_optimizer(seed: int) -> None:
    points, hits = drawn(60, seed)
    fit = fit_logistic(points, hits)
    found = optimize.minimize(negative_likelihood, np.zeros(3), (points, hits), tol=1e-12)
    np.testing.assert_allclose([fit.intercept, *fit.slopes], found.x, rtol=2e-4)
    assert fit.log_likelihood == pytest.approx(-found.fun, abs=1e-6)


@pytest.mark.parametrize("at", [(2.0, 3.0), (4.0, 3.5), (6.0, 1.0)])
def test_bounds_are_where_the_likelihood_ratio_says(at: tuple[float, float]) -> None:
    """The profile by a general optimizer, its root by Brent's method."""
    points, hits = drawn(60, seed=1)
    fit = fit_logistic(points, hits)

    def excess(logit: float) -> float:
        def profile(slopes: NDArray[np.float64]) -> float:
            logits = logit + (points - at) @ slopes
            return float(np.logaddexp(0, logits).sum() - hits @ logits)

        best = optimize.minimize(profile, fit.slopes, tol=1e-12).fun
        return float(2 * (best + fit.log_likelihood) - stats.norm.ppf(0.95) ** 2)

    middle = fit.logit(at)
    low = optimize.brentq(excess, middle - 20, middle)
    high = optimize.brentq(excess, middle, middle + 20)
    assert fit.bounds(at, 0.95) == pytest.approx((expit(low), expit(high)), abs=1e-5)
    assert fit.exceeds(at, expit(low) - 1e-4, 0.95)
    assert not fit.exceeds(at, expit(low) + 1e-4, 0.95)


def test_of_one_point_the_bounds_are_those_of_a_rate() -> None:
    """Without a covariate the likelihood ratio is that of the binomial distribution."""
    fit = fit_logistic(np.zeros((20, 1)), [1] * 14 + [0] * 6)
    assert fit.probability([0]) == pytest.approx(0.7)
    for limit in fit.bounds([0], 0.95):
        ratio = 2 * (14 * math.log(0.7 / limit) + 6 * math.log(0.3 / (1 - limit)))
        assert ratio == pytest.approx(stats.chi2.ppf(0.9, 1), rel=1e-4)


def test_limits_miss_the_truth_as_often_as_they_may() -> None:
    """One-sided limits of 95 % at the point where 80 % are found: among 150 studies about 8 err on each side."""
    rng = np.random.default_rng(0)
    below = above = 0
    for _ in range(150):
        points = rng.uniform(-2, 2, (80, 1))
        hits = (rng.random(80) < 1 / (1 + np.exp(-2 * points[:, 0]))).astype(float)
        low, high = fit_logistic(points, hits).bounds([math.log(4) / 2], 0.95)
        below += high < 0.8
        above += low > 0.8
    assert stats.binom.cdf(below, 150, 0.05) > 0.001
    assert stats.binom.sf(below - 1, 150, 0.05) > 0.001
    assert stats.binom.sf(above - 1, 150, 0.05) > 0.001
    assert stats.binom.cdf(above, 150, 0.05) > 0.001


def test_hits_and_misses_that_do_not_overlap_have_a_step_and_finite_limits() -> None:
    points = np.arange(20.0)[:, None]
    fit = fit_logistic(points, points[:, 0] >= 12)
    assert fit.log_likelihood > -1e-3
    assert fit.probability([11]) < 1e-3
    assert fit.probability([12]) > 1 - 1e-3
    low, high = fit.bounds([13], 0.95)
    assert 0.3 < low < 0.999
    assert high == 1.0
    assert fit.bounds([11.5], 0.95) == (0.0, 1.0)


def test_more_never_makes_a_hit_less_likely() -> None:
    """Where hits become rarer the slope is 0, and what is left is a rate with its limits."""
    points = np.column_stack([np.linspace(0, 1, 40), np.tile([0.0, 1.0], 20)])
    hits = np.where(points[:, 0] < 0.5, 1, 0)
    fit = fit_logistic(points, hits)
    assert fit.slopes.min() == 0.0
    flat = fit_logistic(points[:, :1], hits)
    assert flat.probability([0.9]) == pytest.approx(0.5)
    low, high = flat.bounds([0.9], 0.95)
    assert 0.3 < low < 0.5 < high


@pytest.mark.parametrize("hit", [0.0, 1.0])
def test_all_or_nothing_leaves_one_side_open(hit: float) -> None:
    fit = fit_logistic(np.linspace(0, 3, 30)[:, None], np.full(30, hit))
    assert fit.probability([1.5]) == pytest.approx(hit, abs=1e-6)
    low, high = fit.bounds([1.5], 0.95)
    assert (low if hit == 0 else 1 - high) == 0.0
    # At the end that is hardest to hit without one, the limit is that of a rate of 30 in 30: the curve is flat there.
    low, high = fit.bounds([0.0 if hit == 0 else 3.0], 0.95)
    edge = stats.chi2.ppf(0.9, 1) / 2 / 30
    assert (high if hit == 0 else 1 - low) == pytest.approx(1 - math.exp(-edge), rel=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.floats(0.5, 50), min_size=2, max_size=30),
    seed=st.integers(0, 1000),
    at=st.floats(0.5, 50),
)
def test_whatever_was_hit_the_estimate_lies_between_its_limits(sizes: list[float], seed: int, at: float) -> None:
    points = np.log(sizes)[:, None]
    fit = fit_logistic(points, np.random.default_rng(seed).random(len(sizes)) < 0.5)
    low, high = fit.bounds([math.log(at)], 0.95)
    probability = fit.probability([math.log(at)])
    assert 0 <= low <= probability + 1e-6
    assert probability - 1e-6 <= high <= 1
