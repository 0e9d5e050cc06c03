"""The false reject promise: exact figures, and simulation of how often it fails."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from blemish.decisions.promise import (
    assumption_sentence,
    images_needed,
    make_promise,
    promise_of,
    promise_sentence,
    supported_rate,
)
from blemish.errors import CalibrationError

SIGNIFICANCE = 1e-6
"""Each simulation test is wrong with at most this probability, were its random numbers new."""

DISTRIBUTIONS = {
    "continuous": stats.gamma(3),
    "heavy-tailed": stats.cauchy(),
    "tied": stats.poisson(3),
    "two-valued": stats.bernoulli(0.02),
}


def test_figures_of_the_tables() -> None:
    assert images_needed(0.05, 0.95) == 59
    assert images_needed(0.01, 0.95) == 299
    assert images_needed(0.005, 0.95) == 598
    assert images_needed(0.01, 0.99) == 459
    assert supported_rate(209, 0, 0.95) == pytest.approx(0.01423, abs=5e-6)


@pytest.mark.parametrize("num_good", [1, 2, 10, 209, 761])
@pytest.mark.parametrize("confidence", [0.6, 0.95, 0.999])
def test_supported_rate_is_the_upper_clopper_pearson_limit(num_good: int, confidence: float) -> None:
    for num_over in {0, 1, num_good // 10, num_good // 2} - {num_good}:
        expected = stats.beta.ppf(confidence, num_over + 1, num_good - num_over)
        assert supported_rate(num_good, num_over, confidence) == pytest.approx(expected, rel=1e-9)
    assert supported_rate(num_good, num_good, confidence) == 1.0


@settings(deadline=None, max_examples=200)
@given(num_good=st.integers(1, 2000), wanted=st.floats(0.001, 0.5), confidence=st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_the_lowest_threshold_that_keeps_the_promise_is_taken(num_good: int, wanted: float, confidence: float) -> None:
    promise = make_promise(num_good, wanted, confidence)
    assert promise.is_kept == (num_good >= images_needed(wanted, confidence))
    if promise.is_kept:
        one_more = stats.binom.cdf(promise.num_over + 1, num_good, wanted)
        assert stats.binom.cdf(promise.num_over, num_good, wanted) <= 1 - confidence + 1e-9
        assert one_more > 1 - confidence - 1e-9 or promise.num_over + 1 == num_good
    else:
        assert promise.num_over == 0


def failures(name: str, num_good: int, num_over: int, rate: float, draws: int, seed: int) -> int:
    """In how many draws of good scores more than `rate` of all future good parts lie over the threshold."""
    distribution = DISTRIBUTIONS[name]
    scores = np.sort(distribution.rvs(size=(draws, num_good), random_state=np.random.default_rng(seed)), axis=1)
    return int((distribution.sf(scores[:, num_good - 1 - num_over]) > rate * (1 + 1e-9)).sum())


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("num_good", [10, 59, 209, 300, 1000])
@pytest.mark.parametrize("wanted", [0.01, 0.05])
def test_the_promise_fails_no_more_often_than_stated(name: str, num_good: int, wanted: float) -> None:
    promise = make_promise(num_good, wanted, 0.95)
    draws = 4000
    failed = failures(name, num_good, promise.num_over, promise.rate, draws, seed=num_good)
    assert failed <= stats.binom.ppf(1 - SIGNIFICANCE, draws, 0.05)


@pytest.mark.parametrize("num_good", [10, 300, 1000])
def test_the_promise_is_not_wasteful_for_continuous_scores(num_good: int) -> None:
    promise = make_promise(num_good, 0.01, 0.95)
    draws = 4000
    failed = failures("continuous", num_good, promise.num_over, promise.rate, draws, seed=1)
    assert failed >= stats.binom.ppf(SIGNIFICANCE, draws, 0.05)


def test_a_threshold_one_rank_lower_breaks_the_promise() -> None:
    """The simulation is sharp enough to see the smallest possible mistake."""
    promise = make_promise(473, 0.01, 0.95)
    failed = failures("continuous", 473, promise.num_over + 1, promise.wanted_rate, 4000, seed=2)
    assert failed > stats.binom.ppf(1 - SIGNIFICANCE, 4000, 0.05)


def test_the_expected_rate_is_the_mean_over_draws() -> None:
    promise = make_promise(50, 0.01, 0.95)
    scores = np.random.default_rng(3).random((20_000, 50)).max(axis=1)
    assert np.mean(1 - scores) == pytest.approx(promise.expected_rate, rel=0.03)


def test_a_choice_among_thresholds_is_paid_for() -> None:
    """Whatever data choose among all thresholds, the bounds of all hold together."""
    num_good, draws = 60, 4000
    rates = np.array([promise_of(num_good, k, 0.1, 0.9, num_candidates=num_good + 1).rate for k in range(num_good)])
    scores = np.sort(np.random.default_rng(4).random((draws, num_good)), axis=1)
    any_fails = ((1 - scores[:, ::-1]) > rates).any(axis=1).sum()
    assert any_fails <= stats.binom.ppf(1 - SIGNIFICANCE, draws, 0.1)
    one_by_one = np.array([supported_rate(num_good, k, 0.9) for k in range(num_good)])
    assert ((1 - scores[:, ::-1]) > one_by_one).any(axis=1).sum() > stats.binom.ppf(1 - SIGNIFICANCE, draws, 0.1)


def test_the_promise_in_words() -> None:
    assert promise_sentence(make_promise(209, 0.005, 0.95)) == (
        "At most 1.42 % of good parts are rejected, with 95 % confidence. "
        "209 good images support no less; 0.5 % needs 598."
    )
    assert promise_sentence(make_promise(598, 0.01, 0.95)) == (
        "At most 1 % of good parts are rejected, with 95 % confidence. 598 good images, 1 of them over the threshold."
    )


def test_the_assumption_says_how_the_scores_were_got() -> None:
    assert "exact" in assumption_sentence("split")
    assert "approximate" in assumption_sentence("cross")


def test_no_images_no_promise() -> None:
    with pytest.raises(CalibrationError, match="no good score"):
        make_promise(0, 0.01, 0.95)
