"""What a calibration or a backbone says must mean something: each value that cannot be is refused where it is made."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.errors import BackboneError, BlemishError, CalibrationError, SettingsError
from blemish.schema import (
    Backbone,
    Calibration,
    Condition,
    CostCurve,
    Costs,
    Layer,
    Promise,
    Reduction,
    RegionSettings,
    Rule,
    Tiling,
    Zone,
    ZoneMask,
)

TRIANGLE = ((0.0, 0.0), (1.0, 0.0), (0.5, 1.0))
NO_NUMBERS = (math.nan, math.inf, -math.inf, 10**400, True, "1", None)
NO_COUNTS = (*NO_NUMBERS, 0.5, -1, 10**12)

ZONE_MASK = ZoneMask((4, 4), (3, 13))
ZONE = Zone((TRIANGLE,), (), ZONE_MASK)
RULE = Rule("reject", "scratch", "length", "over", 2.0, "px")
REGIONS = RegionSettings(grow_threshold=0.5)
PROMISE = Promise(
    wanted_rate=0.05,
    limit=0.04,
    confidence=0.95,
    num_good=100,
    num_over=1,
    num_parts=100,
    parts_over=1.0,
    num_needed=39,
)
OF_THREE = dataclasses.replace(PROMISE, num_good=3, num_over=0, num_parts=3, parts_over=0.0)
COSTS = Costs(escape=50.0, reject=1.0, defect_rate=0.01)
CURVE = CostCurve(COSTS, (1.0, 2.0), (0.5, 0.1), (0.4, 0.0), (0.6, 0.2), 2.0, 0.1, 0.95, 0, 1.5)
CONDITION = Condition("brightness", (1.0, 2.0, 2.0))
CALIBRATION = Calibration(
    graph_sha256="0" * 64,
    method="cross",
    good_scores=(0.1, 0.2, 0.2),
    good_map_maxima=(0.1, 0.2, 0.4),
    image_threshold=0.3,
    pixel_threshold=0.4,
    promise=OF_THREE,
    regions=REGIONS,
    display_spread=0.1,
    review_threshold=0.2,
    review_promise=OF_THREE,
    mm_per_px=0.05,
    rules=(RULE,),
    zone=ZONE,
    cost_curve=CURVE,
    conditions=(CONDITION,),
)
LAYER = Layer("blocks.2", 40, 8, -3.5)
BACKBONE = Backbone("net", Path("net.onnx"), (LAYER,), (0.0,) * 3, (1.0,) * 3, "0" * 64, "MIT", "somewhere")

BAD: dict[Any, dict[str, tuple[Any, ...]]] = {
    PROMISE: {
        "wanted_rate": (*NO_NUMBERS, 0.0, 1.0),
        "limit": (*NO_NUMBERS, -0.1, 1.1),
        "num_parts": (0, 101, 2.5),
        "parts_over": (*NO_NUMBERS, -0.1, 100.5),
        "confidence": (*NO_NUMBERS, 0.0, 1.0),
        "num_good": (*NO_COUNTS, 0),
        "num_over": (*NO_COUNTS, 101),
        "num_needed": (*NO_COUNTS, 0),
        "reading": ("maximum", "", None),
        "num_candidates": (*NO_COUNTS, 0),
    },
    ZONE_MASK: {
        "image_hw": ((4,), (4, 4, 1), (0, 16), (-4, -4), (4, 5), (10**9, 10**9), (4.0, 4.0), (math.nan, 4)),
        "runs": ((), (16,), (0, 0, 16), (3, 12), (-3, 19), (3, math.nan), (3, 13, 1), ("3", 13)),
    },
    ZONE: {
        "inspect": (
            ((),),
            (TRIANGLE[:2],),
            (((0.0, 0.0), (2.0, 0.0), (0.5, 1.0)),),
            (((math.nan, 0.0), *TRIANGLE),),
            (((0.0,), *TRIANGLE),),
            (TRIANGLE * 1000,),
        ),
        "ignore": (((),), (((-0.1, 0.0), *TRIANGLE),), (TRIANGLE,) * 1000),
    },
    RULE: {
        "action": ("accept", None),
        "shape": ("hole",),
        "measure": ("width", "area", "peak_score", None),
        "comparison": ("equal",),
        "limit": (*NO_NUMBERS, -1.0, 1e300),
        "unit": ("mm2", "px2", "", "m"),
    },
    REGIONS: {
        "grow_threshold": (*NO_NUMBERS, 1e39),
        **dict.fromkeys(("flank_px", "opening_px", "closing_px", "join_px"), (*NO_COUNTS, 64, 5001, 20_001)),
        "min_area_px2": NO_COUNTS,
    },
    COSTS: {
        "escape": (*NO_NUMBERS, 0.0, -1.0, 1e300),
        "reject": (*NO_NUMBERS, 0.0, -1.0, 1e300),
        "defect_rate": (*NO_NUMBERS, 0.0, 1.0),
    },
    CURVE: {
        "thresholds": ((), (1.0,), (2.0, 1.0), (2.0, 2.0), (math.nan, 2.0), (1.0, math.inf)),
        **dict.fromkeys(("expected", "low", "high"), ((), (1.0,), (1.0, math.nan), (-1.0, 0.0), (1.0, 2.0, 3.0))),
        "best_threshold": (1.5, math.nan),
        "best_cost": (*NO_NUMBERS, -1.0),
        "confidence": (*NO_NUMBERS, 0.0, 1.0),
        "num_defective": (*NO_COUNTS, 1),
        "assumed_shift": (*NO_NUMBERS, -1.0),
    },
    CONDITION: {
        "name": ("", "two\nlines", "\x1b[31mred", "x" * 2000),
        "values": ((), (2.0, 1.0), (1.0, math.nan), (math.inf,), ("1",)),
        "side": ("under",),
    },
    CALIBRATION: {
        "graph_sha256": ("", "two\nlines"),
        "method": ("guess",),
        "good_scores": ((), (0.1,), (0.1, 0.2), (0.2, 0.1, 0.3), (0.1, 0.2, math.nan), (0.1, 0.2, 1e39), (True, 2, 3)),
        "good_shares": ((0.5,), (0.5, 0.5, 0.0), (1.0, 1.0, 2.0), (0.5, math.nan, 0.5)),
        "good_map_maxima": ((), (0.1, 0.2), (0.2, 0.1, 0.3), (0.1, 0.2, math.inf)),
        "image_threshold": (*NO_NUMBERS, 1e39, 0.1),
        "pixel_threshold": (*NO_NUMBERS, 1e39),
        "display_spread": (*NO_NUMBERS, 0.0, -1.0),
        "review_threshold": (*NO_NUMBERS, 0.31),
        "mm_per_px": (*NO_NUMBERS, 0.0, -1.0, 1e200, 1e-200),
        "rules": ((RULE,) * 2000,),
        "conditions": ((CONDITION, CONDITION),),
        **dict.fromkeys(("created", "by", "reason"), ("two\nlines", "\x1b[31mred", "\x9b2J", "x" * 2000, 7)),
    },
    LAYER: {
        "name": ("", " ", "\x00"),
        "channels": (*NO_COUNTS, 0),
        "stride": (*NO_COUNTS, 0),
        "offset": (*NO_NUMBERS, 1e300),
    },
    BACKBONE: {
        "layers": ((), (LAYER, LAYER)),
        "mean": ((), (0.0,) * 4, (0.0, 0.0, math.nan), (1e300,) * 3),
        "std": ((1.0,) * 2, (1.0, 1.0, 0.0), (1.0, -1.0, 1.0), (math.inf,) * 3, (1e-300,) * 3),
        **dict.fromkeys(("name", "sha256", "licence", "source", "input_name"), ("", "two\nlines")),
    },
    Reduction("top_mean", 4): {"kind": ("median", ""), "count": (*NO_COUNTS, 0)},
    Tiling(512, 64): {"tile_px": (*NO_COUNTS, 63, 8193), "overlap_px": (*NO_COUNTS, 0, 5000)},
}


NOT_GIVEN = ("review_threshold", "mm_per_px", "assumed_shift")
"""Fields in which None stands for what is not given."""
BAD_VALUES = [
    pytest.param(good, name, value, id=f"{type(good).__name__}.{name}-{number}")
    for good, fields in BAD.items()
    for name, values in fields.items()
    for number, value in enumerate(values)
    if not (value is None and name in NOT_GIVEN)
]


@pytest.mark.parametrize(("good", "name", "value"), BAD_VALUES)
def test_a_value_that_means_nothing_is_refused(good: Any, name: str, value: Any) -> None:
    with pytest.raises(BlemishError) as caught:
        dataclasses.replace(good, **{name: value})
    message = str(caught.value)
    assert "\n" not in message
    assert message.isprintable()
    assert len(message) < 300


def test_every_field_is_looked_at() -> None:
    """Fields without a bad value are objects that look at themselves, or stand in a test of their own below."""
    elsewhere = {"promise", "review_promise", "regions", "zone", "cost_curve", "mask", "costs", "path"}
    for good, fields in BAD.items():
        names = {field.name for field in dataclasses.fields(good)}
        assert names - set(fields) <= elsewhere, type(good)


@pytest.mark.parametrize("name", ["promise", "review_promise"])
def test_a_promise_is_about_the_good_scores(name: str) -> None:
    with pytest.raises(CalibrationError, match="100 good images, but there are 3 scores"):
        dataclasses.replace(CALIBRATION, **{name: PROMISE})


def test_a_promise_about_review_needs_a_threshold() -> None:
    with pytest.raises(CalibrationError, match="review_threshold"):
        dataclasses.replace(CALIBRATION, review_threshold=None)


def test_a_rule_in_millimeters_needs_a_scale() -> None:
    rule = dataclasses.replace(RULE, unit="mm")
    with pytest.raises(CalibrationError, match="mm_per_px"):
        dataclasses.replace(CALIBRATION, rules=(rule,), mm_per_px=None)


def test_a_curve_from_defective_images_assumes_no_shift() -> None:
    with pytest.raises(CalibrationError, match="assumed_shift"):
        dataclasses.replace(CURVE, assumed_shift=None)
    assert dataclasses.replace(CURVE, assumed_shift=None, num_defective=3).num_defective == 3


def test_numbers_of_numpy_are_numbers() -> None:
    assert dataclasses.replace(CALIBRATION, image_threshold=np.float32(0.3)).image_threshold == np.float32(0.3)
    assert dataclasses.replace(REGIONS, join_px=np.int64(5)).join_px == 5


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: dataclasses.replace(CALIBRATION, display_spread=0.0), CalibrationError),
        (lambda: dataclasses.replace(RULE, unit="mm2"), SettingsError),
        (lambda: dataclasses.replace(LAYER, stride=0), BackboneError),
    ],
)
def test_the_errors_are_those_of_the_package_and_value_errors(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        make()
    assert isinstance(caught.value, ValueError)


def test_a_whole_number_of_thousands_of_digits_is_not_shown() -> None:
    with pytest.raises(CalibrationError, match="too long to show"):
        dataclasses.replace(PROMISE, num_good=10**5000)
