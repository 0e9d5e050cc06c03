"""The threshold of least expected cost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from blemish.decisions.cost import cost_curve, cost_sentence
from blemish.errors import CalibrationError
from blemish.schema import Costs

COSTS = Costs(escape=50, reject=1, defect_rate=0.01)
scores = st.lists(st.floats(0, 100).map(lambda value: round(value, 1)), min_size=1, max_size=30)


def cost_at(threshold: float, good: list[float], defective: list[float], costs: Costs) -> float:
    rejected = sum(score > threshold for score in good) / len(good)
    escaped = sum(score <= threshold for score in defective) / len(defective)
    return costs.reject * (1 - costs.defect_rate) * rejected + costs.escape * costs.defect_rate * escaped


@settings(deadline=None, max_examples=50)
@given(good=scores, defective=scores, escape=st.floats(0.1, 1000), defect_rate=st.floats(0.001, 0.5))
def test_no_threshold_costs_less(good: list[float], defective: list[float], escape: float, defect_rate: float) -> None:
    costs = Costs(escape, 1, defect_rate)
    curve = cost_curve(good, costs, defective_scores=defective)
    least = min(cost_at(threshold, good, defective, costs) for threshold in (*good, *defective, -1.0))
    assert curve.best_cost == pytest.approx(least)
    assert cost_at(curve.best_threshold, good, defective, costs) == pytest.approx(least)
    for threshold, expected, low, high in zip(curve.thresholds, curve.expected, curve.low, curve.high, strict=True):
        assert expected == pytest.approx(cost_at(threshold, good, defective, costs))
        assert low <= expected <= high


def test_between_good_and_defective_the_middle_is_taken() -> None:
    assert cost_curve([1.0, 2.0, 3.0], COSTS, defective_scores=[7.0, 9.0]).best_threshold == 5


def test_dearer_escapes_never_raise_the_threshold() -> None:
    rng = np.random.default_rng(0)
    good, defective = rng.normal(0, 1, 200), rng.normal(2, 1, 20)
    found = [cost_curve(good, Costs(e, 1, 0.05), defective_scores=defective).best_threshold for e in (1, 5, 20, 100)]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1]


def test_the_bounds_hold_as_often_as_stated() -> None:
    """Good parts uniform on 0 to 1, defective on 0.5 to 1.5: at 0.75 the true rates are both 0.25."""
    rng = np.random.default_rng(1)
    truth = 0.99 * 0.25 + 50 * 0.01 * 0.25
    draws, missed = 300, 0
    for _ in range(draws):
        curve = cost_curve(rng.random(40), COSTS, defective_scores=0.5 + rng.random(10), confidence=0.9)
        point = np.searchsorted(curve.thresholds, 0.75)
        missed += not curve.low[point] <= truth <= curve.high[point]
    assert missed <= stats.binom.ppf(1 - 1e-6, draws, 0.1)


def test_a_stored_curve_is_short_and_holds_the_best_point() -> None:
    rng = np.random.default_rng(2)
    curve = cost_curve(rng.normal(size=1000), COSTS, defective_scores=rng.normal(3, 1, 300))
    assert len(curve.thresholds) <= 101
    assert curve.best_threshold in curve.thresholds
    assert min(curve.expected) == curve.best_cost


def test_without_defective_images_the_assumption_is_stated() -> None:
    good = np.random.default_rng(3).normal(5, 2, 300)
    curve = cost_curve(good, COSTS, assumed_shift=3)
    assert curve.num_defective == 0
    assert curve.assumed_shift == pytest.approx(3 * good.std())
    assert "it was assumed that defects score as good parts do, plus" in cost_sentence(curve)
    assert "1 defective image." in cost_sentence(cost_curve(good, COSTS, defective_scores=[9.0]))


def test_scores_that_cannot_be_used() -> None:
    with pytest.raises(CalibrationError, match="no defective score"):
        cost_curve([1.0, 2.0], COSTS, defective_scores=[])
    with pytest.raises(CalibrationError, match="1 defective scores are not finite"):
        cost_curve([1.0, 2.0], COSTS, defective_scores=[np.nan])
