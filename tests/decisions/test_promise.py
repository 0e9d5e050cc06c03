"""The false reject promise: exact figures, and simulation of how often it fails."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from blemish.decisions.promise import (
    assumption_sentence,
    chance_of_rejects,
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
    assert [images_needed(rate) for rate in (0.05, 0.01, 0.005)] == [39, 199, 399]
    assert supported_rate(209, 0, 0.95) == pytest.approx(0.01423, abs=5e-6)


@pytest.mark.parametrize(
    ("num_good", "num_over", "rate"),
    [(38, 1, 2 / 39), (50, 2, 3 / 51), (20, 1, 2 / 21), (19, 0, 1 / 20), (10, 0, 1 / 11), (209, 9, 10 / 210)],
)
def test_the_rate_nearest_to_the_wanted_one_is_taken(num_good: int, num_over: int, rate: float) -> None:
    promise = make_promise(num_good, 0.05)
    assert promise.num_over == num_over
    assert promise.average_rate == pytest.approx(rate)
    assert promise.rate == promise.average_rate


@settings(deadline=None, max_examples=200)
@given(num_good=st.integers(1, 2000), wanted=st.floats(0.001, 0.5))
def test_no_other_rank_comes_nearer_and_one_odd_image_never_sets_the_threshold(num_good: int, wanted: float) -> None:
    promise = make_promise(num_good, wanted)
    fewest = 1 if num_good >= 20 else 0
    distances = [abs((count + 1) / (num_good + 1) - wanted) for count in range(fewest, num_good)]
    assert promise.num_over >= fewest
    assert abs(promise.average_rate - wanted) <= min(distances) + 1e-9


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
    failed = failures(name, num_good, promise.num_over, promise.limit, draws, seed=num_good)
    assert failed <= stats.binom.ppf(1 - SIGNIFICANCE, draws, 0.05)


@pytest.mark.parametrize("num_good", [10, 300, 1000])
def test_the_promise_is_not_wasteful_for_continuous_scores(num_good: int) -> None:
    promise = make_promise(num_good, 0.01, 0.95)
    draws = 4000
    failed = failures("continuous", num_good, promise.num_over, promise.limit, draws, seed=1)
    assert failed >= stats.binom.ppf(SIGNIFICANCE, draws, 0.05)


def test_a_threshold_one_rank_lower_breaks_the_promise() -> None:
    """The simulation is sharp enough to see the smallest possible mistake."""
    promise = make_promise(473, 0.01, 0.95)
    failed = failures("continuous", 473, promise.num_over + 1, promise.wanted_rate, 4000, seed=2)
    assert failed > stats.binom.ppf(1 - SIGNIFICANCE, 4000, 0.05)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("num_good", [10, 20, 59, 209, 1000])
def test_the_mean_rate_is_at_most_the_stated_one(name: str, num_good: int) -> None:
    """Over many plants; equal to it for continuous scores. The limit that stands beside it fails in at most 5 %."""
    promise, draws = make_promise(num_good, 0.05), 4000
    distribution = DISTRIBUTIONS[name]
    scores = np.sort(distribution.rvs(size=(draws, num_good), random_state=np.random.default_rng(num_good)), axis=1)
    rates = distribution.sf(scores[:, num_good - 1 - promise.num_over])
    error = stats.norm.isf(SIGNIFICANCE) * rates.std() / np.sqrt(draws) + 1e-9
    assert rates.mean() <= promise.average_rate + error
    if name in ("continuous", "heavy-tailed"):
        assert rates.mean() >= promise.average_rate - error
    assert (rates > promise.limit * (1 + 1e-9)).sum() <= stats.binom.ppf(1 - SIGNIFICANCE, draws, 0.05)


@pytest.mark.parametrize("likeness", [0.5, 0.95, 1.0])
@pytest.mark.parametrize(("num_parts", "of_each"), [(20, (1, 2, 3)), (33, (2,)), (60, (4,)), (100, (1, 8))])
def test_several_images_of_a_part_are_one_draw(num_parts: int, of_each: tuple[int, ...], likeness: float) -> None:
    """Images of one part score alike; the mean rate of images of new parts and the limit hold all the same."""
    rng, draws = np.random.default_rng((num_parts, round(100 * likeness))), 2000
    sizes = np.resize(of_each, num_parts)
    part = np.repeat(np.arange(num_parts), sizes)
    shares = 1 / sizes[part]
    rates, limits, stated = np.empty(draws), np.empty(draws), np.empty(draws)
    for draw in range(draws):
        common = rng.normal(size=num_parts)[part]
        scores = np.sqrt(likeness) * common + np.sqrt(1 - likeness) * rng.normal(size=len(part))
        order = np.argsort(-scores)
        promise = make_promise(len(scores), 0.05, shares=shares[order])
        rates[draw] = stats.norm.sf(scores[order][promise.num_over])
        limits[draw], stated[draw] = promise.limit, promise.average_rate
    error = stats.norm.isf(SIGNIFICANCE) * (rates - stated).std() / np.sqrt(draws)
    assert (rates - stated).mean() <= error
    assert (rates > limits).sum() <= stats.binom.ppf(1 - SIGNIFICANCE, draws, 0.05)


def test_images_of_one_part_taken_for_many_would_break_the_promise() -> None:
    rng, draws = np.random.default_rng(5), 4000
    scores = np.sort(rng.normal(size=(draws, 25)), axis=1)[:, ::-1]
    promise = make_promise(50, 0.05)  # two equal images of each of 25 parts, counted as 50 parts
    rates = stats.norm.sf(scores[:, promise.num_over // 2])
    assert rates.mean() > promise.average_rate + 5 * rates.std() / np.sqrt(draws)


@pytest.mark.parametrize("num_over", [1, 2, 4])
def test_the_chance_of_so_many_rejects_is_that_of_new_parts(num_over: int) -> None:
    promise, draws, num_new = make_promise(39, 0.05), 20_000, 30
    rng = np.random.default_rng(6)
    thresholds = np.sort(rng.random((draws, 39)), axis=1)[:, 38 - promise.num_over]
    seen = ((rng.random((draws, num_new)) > thresholds[:, None]).sum(axis=1) >= num_over).mean()
    assert chance_of_rejects(num_over, num_new, promise) == pytest.approx(seen, abs=0.015)


def test_a_choice_among_thresholds_is_paid_for() -> None:
    """Whatever data choose among all thresholds, the bounds of all hold together."""
    num_good, draws = 60, 4000
    rates = np.array([promise_of(num_good, k, 0.1, 0.9, num_candidates=num_good + 1).limit for k in range(num_good)])
    scores = np.sort(np.random.default_rng(4).random((draws, num_good)), axis=1)
    any_fails = ((1 - scores[:, ::-1]) > rates).any(axis=1).sum()
    assert any_fails <= stats.binom.ppf(1 - SIGNIFICANCE, draws, 0.1)
    one_by_one = np.array([supported_rate(num_good, k, 0.9) for k in range(num_good)])
    assert ((1 - scores[:, ::-1]) > one_by_one).any(axis=1).sum() > stats.binom.ppf(1 - SIGNIFICANCE, draws, 0.1)


def test_the_promise_in_words() -> None:
    assert promise_sentence(make_promise(50, 0.05)) == (
        "On average at most 5.88 % of good parts are rejected; with 95 % confidence at most 12.1 %. "
        "50 good images, 2 of them over the threshold."
    )
    assert promise_sentence(make_promise(50, 0.01)) == (
        "On average at most 3.92 % of good parts are rejected; with 95 % confidence at most 9.14 %. "
        "50 good images, 1 of them over the threshold. 1 % needs 199."
    )
    assert promise_sentence(make_promise(598, 0.01, 0.95)) == (
        "With 95 % confidence at most 1 % of good parts are rejected; on average at most 0.334 %. "
        "598 good images, 1 of them over the threshold."
    )
    assert promise_sentence(make_promise(209, 0.005, 0.95)) == (
        "With 95 % confidence at most 1.42 % of good parts are rejected; on average at most 0.476 %. "
        "209 good images, 0 of them over the threshold. 0.5 % needs 598."
    )
    assert promise_sentence(promise_of(99, 4, 0.05, num_candidates=100)).startswith(
        "About 5 % of good parts are rejected; with 95 % confidence at most "
    )
    assert "40 good images of 20 different parts, 2 of them" in promise_sentence(
        make_promise(40, 0.05, shares=np.full(40, 0.5))
    )


def test_the_assumption_says_how_the_scores_were_got() -> None:
    assert "exact" in assumption_sentence("split")
    assert "approximate" in assumption_sentence("cross")


def test_no_images_no_promise() -> None:
    with pytest.raises(CalibrationError, match="no good score"):
        make_promise(0, 0.01)
