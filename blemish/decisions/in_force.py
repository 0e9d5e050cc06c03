"""The wishes behind the calibration in force, so that what is not asked for anew is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from blemish.decisions.promise import percent
from blemish.decisions.wishes import CalibrationSettings
from blemish.errors import SettingsError
from blemish.schema import Calibration, Costs


def wishes_in_force(calibration: Calibration) -> CalibrationSettings:
    """What was asked of a calibration: rates, confidence and costs. `strict` is asked once and not kept."""
    wishes = CalibrationSettings(
        false_reject=calibration.promise.wanted_rate,
        confidence=None if calibration.promise.reading == "average" else calibration.promise.confidence,
        review_rate=None if calibration.review_promise is None else calibration.review_promise.wanted_rate,
    )
    curve = calibration.cost_curve
    if curve is None:
        return wishes
    shift = wishes.assumed_shift
    if curve.assumed_shift is not None:  # it is kept in raw units
        spread = float(np.std(calibration.good_scores))
        shift = float(f"{curve.assumed_shift / spread:.9g}")
    return CalibrationSettings(
        wishes.false_reject, wishes.confidence, wishes.review_rate, costs=curve.costs, assumed_shift=shift
    )


def change_wishes(
    in_force: CalibrationSettings,
    *,
    false_reject: float | None = None,
    confidence: float | None = None,
    review_rate: float | None = None,
    strict: bool = False,
    cost_escape: float | None = None,
    cost_reject: float | None = None,
    defect_rate: float | None = None,
    assumed_shift: float | None = None,
) -> CalibrationSettings:
    """The wishes in force with those given put in their place; a `review_rate` or `cost_escape` of 0 ends it.

    A `confidence` of 0 makes the rate an average again.

    Raises SettingsError where they do not go together.
    """
    rate = in_force.false_reject if false_reject is None else false_reject
    review = in_force.review_rate if review_rate is None else review_rate or None
    if review is not None and review_rate is None and review <= rate < 1:
        raise SettingsError(
            f"the review rate in force, {percent(review)}, is not above the false reject rate, {percent(rate)}: "
            "give a higher review rate, or 0 for no review"
        )
    costs = in_force.costs
    if cost_escape == 0:
        costs = None
    elif cost_escape is not None:
        costs = Costs(cost_escape, 1.0, 0.01) if costs is None else replace(costs, escape=cost_escape)
    given = [value for value in (cost_reject, defect_rate, assumed_shift) if value is not None]
    if costs is None and given:
        raise SettingsError("costs need the cost of an escape: give --cost-escape too")
    if costs is not None:
        costs = replace(
            costs,
            reject=costs.reject if cost_reject is None else cost_reject,
            defect_rate=costs.defect_rate if defect_rate is None else defect_rate,
        )
    return CalibrationSettings(
        false_reject=rate,
        confidence=in_force.confidence if confidence is None else confidence or None,
        review_rate=review,
        strict=strict,
        costs=costs,
        assumed_shift=in_force.assumed_shift if assumed_shift is None else assumed_shift,
    )
