"""Scores of good images -> calibration: thresholds, errors, JSON, re-judging."""

import dataclasses
import time

import numpy as np
import pytest
from pydantic import TypeAdapter

from blemish.decisions.explain import explain
from blemish.decisions.judge import judge
from blemish.decisions.rule_text import parse_rules
from blemish.decisions.thresholds import calibrate, check_graph, recalibrate, shares_of_parts, suspects
from blemish.decisions.wishes import CalibrationSettings
from blemish.errors import CalibrationError, SettingsError
from blemish.schema import Calibration, Condition, Costs, Zone, ZoneMask

rng = np.random.default_rng(0)
SCORES = rng.gamma(3, size=400).astype(np.float32)
MAXIMA = (SCORES * 2 + rng.random(400)).astype(np.float32)


def calibration_of(num_good: int = 400, **options: object) -> Calibration:
    settings = options.pop("settings", None) or CalibrationSettings()
    return calibrate(
        SCORES[:num_good], MAXIMA[:num_good], graph_sha256="a" * 64, method="cross", settings=settings, **options
    )  # type: ignore[arg-type]


def test_both_thresholds_leave_the_same_number_of_good_images_over_them() -> None:
    calibration = calibration_of(settings=CalibrationSettings(false_reject=0.05))
    assert calibration.promise.is_kept
    assert calibration.promise.num_over == 19
    assert (calibration.image_threshold < SCORES).sum() == 19
    assert (calibration.pixel_threshold < MAXIMA).sum() == 19


def test_a_confidence_asks_for_the_stricter_reading() -> None:
    calibration = calibration_of(settings=CalibrationSettings(false_reject=0.05, confidence=0.95))
    assert calibration.promise.num_over == 12
    assert (calibration.image_threshold < SCORES).sum() == 12


def test_the_order_of_the_images_makes_no_difference() -> None:
    order = np.random.default_rng(1).permutation(400)
    shuffled = calibrate(SCORES[order], MAXIMA[order], graph_sha256="a" * 64, method="cross")
    assert shuffled == calibration_of()


@pytest.mark.parametrize("num_good", [2, 5, 10, 209])
def test_too_few_images_for_a_limit_give_the_largest_score_and_say_what_that_supports(num_good: int) -> None:
    calibration = calibration_of(num_good, settings=CalibrationSettings(false_reject=0.005, confidence=0.95))
    assert calibration.image_threshold == SCORES[:num_good].max()
    assert calibration.pixel_threshold == MAXIMA[:num_good].max()
    assert not calibration.promise.is_kept
    [promise, *_] = explain(calibration)
    assert f"{num_good} good images, 0 of them over the threshold. 0.5 % needs 598." in promise


def test_one_odd_image_of_many_never_sets_the_threshold() -> None:
    odd = np.append(SCORES[:49], 100.0)
    calibration = calibrate(odd, odd, graph_sha256="a" * 64, method="cross")
    assert calibration.image_threshold < SCORES[:49].max()


def test_images_of_one_part_count_as_one_in_threshold_and_p_value() -> None:
    scores = np.repeat(np.arange(25.0), 2)
    one_by_one = calibrate(scores, scores, graph_sha256="a" * 64, method="cross")
    together = calibrate(
        scores, scores, graph_sha256="a" * 64, method="cross", shares=shares_of_parts(np.repeat(np.arange(25), 2))
    )
    assert (one_by_one.promise.num_parts, together.promise.num_parts) == (50, 25)
    assert together.promise.average_rate == pytest.approx(2 / 26)
    assert judge(24.5, together).p_value == pytest.approx(1 / 26)
    assert recalibrate(together, CalibrationSettings()) == together


def test_with_costs_the_review_promise_is_that_of_the_threshold_in_force() -> None:
    """Dear escapes lower both thresholds; what then lies over them is what is said."""
    costs = Costs(escape=1000, reject=1, defect_rate=0.2)
    calibration = calibration_of(settings=CalibrationSettings(costs=costs, review_rate=0.06, assumed_shift=0.5))
    assert calibration.review_promise is not None
    assert calibration.review_threshold == calibration.image_threshold
    over = int((calibration.review_threshold < SCORES).sum())
    assert over > 100
    assert calibration.review_promise.num_over == over
    assert any(f"{over} of them over the threshold" in sentence for sentence in explain(calibration)[2:])


def test_strict_makes_it_an_error() -> None:
    with pytest.raises(
        CalibrationError,
        match=r"209 good images support a false reject rate of 1\.42 % at 95 % confidence, not 1 %, which needs 299",
    ):
        calibration_of(209, settings=CalibrationSettings(false_reject=0.01, confidence=0.95, strict=True))
    with pytest.raises(CalibrationError, match=r"50 good images support .* of 3\.92 % on average, not 1 %, .* 199"):
        calibration_of(50, settings=CalibrationSettings(false_reject=0.01, strict=True))


@pytest.mark.parametrize("num_good", [0, 1])
def test_fewer_than_two_images_are_an_error(num_good: int) -> None:
    with pytest.raises(CalibrationError, match="at least 2 good images"):
        calibration_of(num_good)


def test_equal_scores_are_an_error() -> None:
    with pytest.raises(CalibrationError, match="all 12 good images score 3"):
        calibrate([3.0] * 12, [3.0] * 12, graph_sha256="a", method="split")


def test_scores_that_are_no_numbers_are_an_error() -> None:
    with pytest.raises(CalibrationError, match="1 of 3 good map maxima"):
        calibrate([1.0, 2.0, 3.0], [1.0, np.nan, 3.0], graph_sha256="a", method="split")


def test_scores_and_maxima_belong_together() -> None:
    with pytest.raises(CalibrationError, match="3 good scores but 2 map maxima"):
        calibrate([1.0, 2.0, 3.0], [1.0, 2.0], graph_sha256="a", method="split")


def test_another_graph_is_an_error() -> None:
    check_graph(calibration_of(), "a" * 64)
    with pytest.raises(CalibrationError, match="belongs to graph aaaaaaaaaaaa, but this is graph bbbb"):
        check_graph(calibration_of(), "b" * 64)


def test_rules_in_millimeters_without_a_scale_are_an_error() -> None:
    rules = parse_rules("reject scratches longer than 2 mm")
    with pytest.raises(CalibrationError, match="scale of the images is not known"):
        calibration_of(rules=rules)
    assert calibration_of(rules=rules, mm_per_px=0.1).rules == rules


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"false_reject": 0}, "false_reject"),
        ({"false_reject": 1}, "false_reject"),
        ({"false_reject": float("nan")}, "false_reject"),
        ({"confidence": 0.5}, "confidence"),
        ({"confidence": 95}, "confidence"),
        ({"review_rate": 0.005}, "review_rate"),
        ({"assumed_shift": 0}, "assumed_shift"),
    ],
)
def test_settings_out_of_range_are_errors(options: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        CalibrationSettings(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_is_a_positive_number(scale: float) -> None:
    with pytest.raises(CalibrationError, match="mm_per_px"):
        calibration_of(mm_per_px=scale)


def test_a_calibration_survives_json() -> None:
    calibration = calibration_of(
        settings=CalibrationSettings(review_rate=0.1, costs=Costs(50, 1, 0.01)),
        mm_per_px=0.05,
        rules=parse_rules("reject scratches longer than 2 mm, ignore spots"),
        zone=Zone(
            inspect=(((0.0, 0.0), (1.0, 0.0), (0.5, 1.0)),), ignore=(), mask=ZoneMask(image_hw=(2, 2), runs=(1, 3))
        ),
        conditions=(Condition("score", (1.0, 2.0), "over"),),
    )
    adapter = TypeAdapter(Calibration)
    assert adapter.validate_json(adapter.dump_json(calibration)) == calibration


def test_other_wishes_give_new_thresholds_and_keep_the_rest() -> None:
    old = calibration_of(mm_per_px=0.05, rules=parse_rules("ignore spots"))
    old = dataclasses.replace(old, regions=dataclasses.replace(old.regions, min_area_px2=7))
    new = recalibrate(old, CalibrationSettings(false_reject=0.1))
    assert new.image_threshold < old.image_threshold
    assert (new.rules, new.mm_per_px, new.regions.min_area_px2) == (old.rules, 0.05, 7)
    assert recalibrate(new, CalibrationSettings()) == old


def test_a_review_band_needs_enough_images() -> None:
    calibration = calibration_of(30, settings=CalibrationSettings(false_reject=0.01, review_rate=0.05))
    assert calibration.review_threshold == calibration.image_threshold
    assert any("no part is put up for review" in sentence for sentence in explain(calibration))


def test_costs_choose_the_threshold_and_its_promise_pays_for_the_choice() -> None:
    settings = CalibrationSettings(costs=Costs(escape=50, reject=1, defect_rate=0.01))
    calibration = calibration_of(settings=settings, defective_scores=[9.0, 12.0, 30.0])
    assert calibration.cost_curve is not None
    assert calibration.image_threshold == calibration.cost_curve.best_threshold
    assert calibration.promise.num_candidates == 401
    assert calibration.promise.num_over == (calibration.image_threshold < SCORES).sum()
    assert any("3 defective images" in sentence for sentence in explain(calibration))


def test_escapes_that_cost_everything_reject_everything() -> None:
    settings = CalibrationSettings(costs=Costs(escape=1e9, reject=1, defect_rate=0.5), review_rate=0.1)
    calibration = calibration_of(20, settings=settings, defective_scores=[0.001])
    assert (SCORES[:20] > calibration.image_threshold).all()
    assert calibration.promise.rate == 1
    assert calibration.review_threshold == calibration.image_threshold
    assert calibration.pixel_threshold == MAXIMA[:20].min()
    assert calibration.display_spread > 0


def test_good_images_far_above_the_rest_are_named() -> None:
    scores = np.concatenate([rng.normal(size=50), [30.0], rng.normal(size=50), [60.0]])
    assert suspects(scores) == [101, 50]
    assert suspects(rng.normal(size=100)) == []


def test_a_thousand_images_take_no_time() -> None:
    start = time.perf_counter()
    calibrate(np.arange(1000.0), np.arange(1000.0), graph_sha256="a", method="split")
    assert time.perf_counter() - start < 1
