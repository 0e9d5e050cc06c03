"""What was asked of the calibration in force is read from it, so that it can be kept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.decisions.in_force import change_wishes, wishes_in_force
from blemish.decisions.thresholds import calibrate, recalibrate
from blemish.decisions.wishes import CalibrationSettings
from blemish.errors import SettingsError
from blemish.schema import Calibration, Costs

SCORES = [float(number % 17) + number / 100 for number in range(80)]


def make(settings: CalibrationSettings, defective: list[float] | None = None) -> Calibration:
    return calibrate(SCORES, SCORES, graph_sha256="a", method="split", settings=settings, defective_scores=defective)


costs = st.builds(Costs, st.floats(0.1, 1e4), st.floats(0.1, 1e4), st.floats(1e-4, 0.5))
wanted = st.builds(
    CalibrationSettings,
    false_reject=st.floats(0.001, 0.4),
    confidence=st.floats(0.6, 0.99),
    review_rate=st.none() | st.floats(0.41, 0.9),
    costs=st.none() | costs,
)


@settings(deadline=None)
@given(wanted)
def test_kept_wishes_give_the_same_calibration(wishes: CalibrationSettings) -> None:
    made = make(wishes)
    in_force = wishes_in_force(made)
    assert in_force == wishes
    again = recalibrate(made, in_force)
    assert again.image_threshold == made.image_threshold
    assert again.review_threshold == made.review_threshold
    assert again.promise == made.promise


def test_the_assumed_shift_is_kept() -> None:
    wishes = CalibrationSettings(costs=Costs(50.0, 1.0, 0.01), assumed_shift=2.5)
    assert wishes_in_force(make(wishes)) == wishes


GIVEN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "rate": ({"false_reject": 0.01}, {"false_reject": 0.01}),
    "confidence": ({"confidence": 0.9}, {"confidence": 0.9}),
    "review": ({"review_rate": 0.2}, {"review_rate": 0.2}),
    "no review": ({"review_rate": 0}, {"review_rate": None}),
    "cost of an escape": ({"cost_escape": 7.0}, {"costs": Costs(7.0, 2.0, 0.03)}),
    "cost of a reject": ({"cost_reject": 7.0}, {"costs": Costs(50.0, 7.0, 0.03)}),
    "defect rate": ({"defect_rate": 0.1}, {"costs": Costs(50.0, 2.0, 0.1)}),
    "no costs": ({"cost_escape": 0}, {"costs": None}),
    "shift": ({"assumed_shift": 3.0}, {"assumed_shift": 3.0}),
    "strict": ({"strict": True}, {"strict": True}),
}


@pytest.mark.parametrize("name", GIVEN)
def test_only_what_is_given_changes(name: str) -> None:
    in_force = {"false_reject": 0.02, "confidence": 0.8, "review_rate": 0.1, "costs": Costs(50.0, 2.0, 0.03)}
    given_now, expected = GIVEN[name]
    assert change_wishes(CalibrationSettings(**in_force), **given_now) == CalibrationSettings(**in_force | expected)


def test_costs_begin_with_the_usual_ones() -> None:
    assert change_wishes(CalibrationSettings(), cost_escape=50.0).costs == Costs(50.0, 1.0, 0.01)


@pytest.mark.parametrize("given_now", [{"cost_reject": 2.0}, {"defect_rate": 0.1}, {"assumed_shift": 2.0}])
def test_parts_of_costs_without_costs_are_refused(given_now: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="--cost-escape"):
        change_wishes(CalibrationSettings(), **given_now)


def test_a_rate_that_meets_the_kept_review_rate_says_so() -> None:
    with pytest.raises(
        SettingsError, match=r"the review rate in force, 10 %, is not above the false reject rate, 20 %"
    ):
        change_wishes(CalibrationSettings(review_rate=0.1), false_reject=0.2)
