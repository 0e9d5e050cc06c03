"""One score -> decision, p-value and display score."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from blemish.decisions.judge import display_score, judge, p_value
from blemish.decisions.thresholds import calibrate
from blemish.decisions.wishes import CalibrationSettings
from blemish.errors import CalibrationError
from blemish.schema import Calibration

finite = st.floats(-1e6, 1e6)


def calibration_of(scores: object, **settings: object) -> Calibration:
    return calibrate(scores, scores, graph_sha256="a", method="split", settings=CalibrationSettings(**settings))


TWENTY = calibration_of(np.arange(20.0), confidence=0.95)


def test_a_score_at_the_threshold_is_not_over_it() -> None:
    assert TWENTY.image_threshold == 19
    assert judge(19.0, TWENTY).decision == "accept"
    assert judge(math.nextafter(19.0, 20), TWENTY).decision == "reject"


def test_three_ways() -> None:
    calibration = calibration_of(np.arange(400.0), false_reject=0.01, review_rate=0.05)
    assert calibration.review_threshold is not None
    assert calibration.review_threshold < calibration.image_threshold
    between = (calibration.review_threshold + calibration.image_threshold) / 2
    decisions = [judge(score, calibration).decision for score in (0, calibration.review_threshold, between, 500)]
    assert decisions == ["accept", "accept", "review", "reject"]


def test_an_infinite_score_is_rejected_and_one_that_is_no_number_is_an_error() -> None:
    judgement = judge(math.inf, TWENTY)
    assert (judgement.decision, judgement.display_score) == ("reject", 100)
    with pytest.raises(CalibrationError, match="not a number"):
        judge(math.nan, TWENTY)


@settings(deadline=None)
@given(good=st.lists(finite, min_size=1, max_size=50), score=finite)
def test_the_p_value_counts_the_good_scores_at_least_as_large(good: list[float], score: float) -> None:
    expected = (1 + sum(value >= score for value in good)) / (len(good) + 1)
    assert p_value(score, tuple(sorted(good))) == expected


@pytest.mark.parametrize("num_good", [10, 100, 1000])
def test_p_values_of_good_parts_are_uniform(num_good: int) -> None:
    """Over draws of good images and one more good part each value of k / (n + 1) is equally probable."""
    draws = 5000
    scores = np.random.default_rng(num_good).standard_cauchy((draws, num_good + 1))
    found = [
        p_value(part, tuple(good)) for part, good in zip(scores[:, 0], np.sort(scores[:, 1:], axis=1), strict=True)
    ]
    groups = np.bincount(np.minimum((np.array(found) * (num_good + 1) - 0.5) * 10 / (num_good + 1), 9).astype(int))
    shares = np.bincount(np.minimum((np.arange(num_good + 1) + 0.5) * 10 / (num_good + 1), 9).astype(int)) / (
        num_good + 1
    )
    assert stats.chisquare(groups, shares * draws).pvalue > 1e-6


def test_p_values_of_tied_scores_are_never_too_small() -> None:
    draws = 5000
    scores = np.random.default_rng(0).poisson(2, (draws, 31)).astype(float)
    found = np.array([p_value(row[0], tuple(sorted(row[1:]))) for row in scores])
    for level in (0.05, 0.1, 0.3, 0.5):
        assert (found <= level).sum() <= stats.binom.ppf(1 - 1e-6, draws, level)


@settings(deadline=None)
@given(good=st.lists(finite, min_size=2, max_size=50, unique=True), first=finite, second=finite)
def test_display_scores_keep_the_order_and_their_range(good: list[float], first: float, second: float) -> None:
    calibration = calibration_of(good)
    low, high = (display_score(score, calibration) for score in sorted((first, second)))
    assert 0 <= low <= high <= 100
    assert display_score(calibration.image_threshold, calibration) == 50
    assert (judge(first, calibration).decision == "reject") >= (display_score(first, calibration) > 50)


def test_display_scores_of_the_usual_places() -> None:
    calibration = dataclasses.replace(calibration_of(np.linspace(0, 10, 101), false_reject=0.01, confidence=0.95))
    assert display_score(5, calibration) == 25
    assert display_score(0, calibration) == 0
    assert display_score(15, calibration) == pytest.approx(50 + 50 / 3)
    assert display_score(1e9, calibration) == pytest.approx(100)
