"""Two calibrations that differ can be told apart, row by row."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from blemish.decisions.changes import changes, describe, describe_zone
from blemish.decisions.thresholds import calibrate
from blemish.decisions.wishes import CalibrationSettings
from blemish.decisions.zones import zone_from_polygons
from blemish.schema import Calibration, Condition, Costs, Rule, Zone, ZoneMask

SCORES = [float(number) for number in range(1, 41)]


def make(**wishes: Any) -> Calibration:
    return calibrate(
        SCORES,
        SCORES,
        graph_sha256="a" * 64,
        method="cross",
        settings=CalibrationSettings(**wishes),
        conditions=[Condition("score", (1.0, 2.0))],
    )


PLAIN = make()


def test_equal_calibrations_have_no_changes() -> None:
    assert changes(PLAIN, make()) == ()
    later = dataclasses.replace(PLAIN, created="2026-11-24", by="ann", reason="once more")
    assert changes(PLAIN, later) == ()


@pytest.mark.parametrize(
    ("other", "name", "text"),
    [
        (make(confidence=0.9), "confidence", "none -> 90 %"),
        (
            make(costs=Costs(50.0, 1.0, 0.01)),
            "costs",
            "none -> 50 per escape, 1 per false reject, 1 % defective, defects assumed 46.17 over good parts",
        ),
        (
            dataclasses.replace(PLAIN, rules=(Rule("reject", "scratch", "length", "over", 3.0, "px"),)),
            "rules",
            "none -> reject scratches longer than 3 px",
        ),
        (dataclasses.replace(PLAIN, mm_per_px=0.05), "scale", "none -> 0.05 mm per pixel"),
        (dataclasses.replace(PLAIN, image_threshold=38.5), "threshold", "39 -> 38.5"),
    ],
)
def test_a_change_says_what_was_and_what_is(other: Calibration, name: str, text: str) -> None:
    found = {change.name: change for change in changes(PLAIN, other)}
    assert str(found[name]) == f"{name}: {text}"


@pytest.mark.parametrize(
    ("other", "name", "before", "after"),
    [
        (make(false_reject=0.02), "false reject rate", "5 % wanted", "2 % wanted"),
        (make(review_rate=0.3), "review rate", "none", "30 % wanted"),
    ],
)
def test_rates_say_what_was_asked_for(other: Calibration, name: str, before: str, after: str) -> None:
    found = {change.name: change for change in changes(PLAIN, other)}
    assert found[name].before.startswith(before)
    assert found[name].after.startswith(after)


def test_zones_are_told_apart() -> None:
    half = Zone(mask=ZoneMask((10, 20), (100, 100)))
    other = Zone(mask=ZoneMask((10, 20), (0, 100, 100)))
    assert describe_zone(half) == "50 % of the image, by a mask of 20 x 10 pixels"
    corner = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    assert describe_zone(zone_from_polygons([corner], [corner, corner])) == "inside 1 polygon, all but 2 polygons"
    assert describe_zone(Zone()) == "the whole image"
    [change] = changes(dataclasses.replace(PLAIN, zone=half), dataclasses.replace(PLAIN, zone=other))
    assert change.name == "zone"


OTHER: dict[str, Any] = {
    "graph_sha256": "b" * 64,
    "method": "split",
    "good_scores": (*SCORES[:-1], 41.0),
    "good_map_maxima": (*SCORES[:-1], 41.0),
    "good_shares": (0.5,) * len(SCORES),
    "image_threshold": 38.5,
    "pixel_threshold": 38.5,
    "promise": dataclasses.replace(PLAIN.promise, num_needed=60),
    "regions": dataclasses.replace(PLAIN.regions, flank_px=16),
    "display_spread": 3.0,
    "review_threshold": 30.0,
    "review_promise": make(review_rate=0.3).review_promise,
    "mm_per_px": 0.1,
    "rules": (Rule("ignore"),),
    "zone": Zone(),
    "cost_curve": make(costs=Costs(9.0, 1.0, 0.5)).cost_curve,
    "conditions": (Condition("score", (1.0, 3.0)),),
}


DECIDES = sorted({field.name for field in dataclasses.fields(Calibration)} - {"created", "by", "reason"})


@pytest.mark.parametrize("field", DECIDES)
def test_no_field_changes_unnoticed(field: str) -> None:
    more = {"review_threshold": 31.0} if field == "review_promise" else {}
    before, after = dataclasses.replace(PLAIN, **more), dataclasses.replace(PLAIN, **more, **{field: OTHER[field]})
    found = changes(before, after)
    assert found
    assert {change.name for change in found} <= set(describe(PLAIN))
