"""Limits of rates and of AUROC: equal to SciPy's, and true as often as promised."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.errors import MetricError
from blemish.metrics import auroc_interval, clopper_pearson
from blemish.metrics.intervals import beta_cdf, beta_quantile, median_interval


@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
@settings(deadline=None, max_examples=80)
def test_clopper_pearson_equals_scipy(trials, share, confidence):
    successes = round(share * trials)
    expected = scipy.stats.binomtest(successes, trials).proportion_ci(confidence, method="exact")
    assert clopper_pearson(successes, trials, confidence) == pytest.approx((expected.low, expected.high), rel=1e-8)


@given(st.permutations(range(100)), st.integers(1, 100), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
@settings(deadline=None, max_examples=80)
def test_a_median_interval_is_the_shortest_pair_in_order_that_is_sure_enough(order, count, confidence):
    values = [float(value) for value in order if value < count]

    def sureness(left_out):
        return 1 - 2 * scipy.stats.binom.cdf(left_out, count, 0.5)

    found = median_interval(values, confidence)
    if found is None:
        assert sureness(0) < confidence
    else:
        low, high = found
        assert low + high == count - 1, "as many below as above"
        assert sureness(low) >= confidence - 1e-12 > sureness(low + 1) - 1e-9


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # As R gives them: binom.test(successes, trials)$conf.int
        (0, 20, 0.0, 0.1684335),
        (3, 20, 0.03207094, 0.3789268),
        (20, 20, 0.8315665, 1.0),
        (1, 1, 0.025, 1.0),
    ],
)
def test_clopper_pearson_equals_known_values(successes, trials, low, high):
    assert clopper_pearson(successes, trials) == pytest.approx((low, high), abs=1e-7)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.4])
def test_clopper_pearson_holds_at_least_as_often_as_promised(rate):
    trials = 60
    chances = scipy.stats.binom.pmf(np.arange(trials + 1), trials, rate)
    limits = [clopper_pearson(successes, trials, 0.9) for successes in range(trials + 1)]
    holds = [low <= rate <= high for low, high in limits]
    assert chances @ holds >= 0.9


@given(st.floats(0.01, 5000), st.floats(0.01, 5000), st.floats(0.0005, 0.9995))
@settings(deadline=None, max_examples=150)
def test_beta_distribution_equals_scipy(a, b, probability):
    quantile = beta_quantile(probability, a, b)
    assert quantile == pytest.approx(scipy.stats.beta.ppf(probability, a, b), rel=1e-7, abs=1e-12)
    x = min(max(quantile, 1e-9), 1 - 1e-9)
    assert beta_cdf(x, a, b) == pytest.approx(scipy.stats.beta.cdf(x, a, b), rel=1e-7, abs=1e-12)


def test_beta_distribution_ends():
    assert beta_cdf(0.0, 2, 3) == 0.0
    assert beta_cdf(1.0, 2, 3) == 1.0
    assert beta_cdf(-1.0, 2, 3) == 0.0


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_a_rate_of_nothing_has_no_interval(successes, trials):
    with pytest.raises(MetricError, match=f"{successes} of {trials}"):
        clopper_pearson(successes, trials)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_a_confidence_is_a_share(confidence):
    with pytest.raises(MetricError, match="between 0 and 1"):
        clopper_pearson(1, 2, confidence)


@given(st.floats(0, 1), st.integers(2, 300), st.integers(2, 300))
@settings(deadline=None, max_examples=60)
def test_auroc_limits_solve_newcombes_equation(auroc, num_good, num_defective):
    low, high = auroc_interval(auroc, num_good, num_defective)
    assert 0 <= low <= auroc <= high <= 1
    extra = (num_good + num_defective) / 2 - 1
    for limit in (low, high):
        spread = 1 + extra * (1 - limit) / (2 - limit) + extra * limit / (1 + limit)
        deviation = math.sqrt(limit * (1 - limit) * spread / (num_good * num_defective))
        if 0 < limit < 1:
            assert abs(auroc - limit) == pytest.approx(scipy.stats.norm.ppf(0.975) * deviation, rel=1e-6, abs=1e-7)


def test_a_perfect_ranking_of_few_images_is_no_proof():
    assert auroc_interval(1.0, 20, 63)[0] == pytest.approx(0.934, abs=1e-3)
    assert auroc_interval(1.0, 2000, 6300)[0] > 0.999
