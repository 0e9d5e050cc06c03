"""What painted defects say: sizes found with confidence, places that are blind, and sentences that claim no more."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import optimize, stats

from blemish.bundle.bundle import SENSITIVITY
from blemish.decisions.sensitivity import (
    STRENGTHS,
    detection_curves,
    found_by_place,
    num_found_at,
    resettled,
    sensitivity_sentence,
    size_text,
)
from blemish.errors import CalibrationError
from blemish.model import Model
from blemish.schema import Calibration, GradedKind, PaintedTrial, Rule, Sensitivity

CLEAR = STRENGTHS["clear"]


def painted(
    is_found: Callable[[float, float, tuple[float, float]], bool],
    *,
    kind: GradedKind = "spot",
    num: int = 120,
    low: float = 2.0,
    high: float = 60.0,
    seed: int = 0,
) -> list[PaintedTrial]:
    """Trials of sizes spread evenly over their logarithm, at random places, in turn of each strength."""
    rng = np.random.default_rng(seed)
    trials = []
    for number, size in enumerate(np.geomspace(low, high, num)):
        strength = list(STRENGTHS.values())[number % 3]
        place = (float(rng.random()), float(rng.random()))
        hit = is_found(float(size), strength, place)
        trials.append(PaintedTrial(kind, float(size), strength, place, score=1.0 + hit, is_found=hit))
    return trials


def sensitivity(trials: Sequence[PaintedTrial], image_hw: tuple[int, int] = (200, 300)) -> Sensitivity:
    return Sensitivity(tuple(trials), num_images=10, num_rejected=0, image_hw=image_hw, image_threshold=1.5)


def chance(size: float, strength: float) -> float:
    return 1 / (1 + math.exp(-(3 * math.log(size / 9) + 2 * math.log(strength / CLEAR) + math.log(9))))


def by_chance(seed: int) -> Callable[[float, float, tuple[float, float]], bool]:
    """Finds 90 % of clear spots of 9 px, more of larger and stronger ones."""
    rng = np.random.default_rng(seed)
    return lambda size, strength, place: bool(rng.random() < chance(size, strength))


def test_the_size_found_is_that_of_the_truth_within_its_limits() -> None:
    """a90 scatters about 9 px, and a90/95 lies above it in 95 of 100 studies."""
    sizes = [detection_curves(painted(by_chance(seed), num=240))[0].size_found(CLEAR) for seed in range(100)]
    assert all(size.outcome == "reached" for size in sizes)
    assert np.median([size.size_px for size in sizes]) == pytest.approx(9, rel=0.1)
    too_low = sum(size.sure_px is not None and size.sure_px < 9 for size in sizes)
    assert stats.binom.sf(too_low - 1, 100, 0.05) > 0.001
    assert stats.binom.cdf(too_low, 100, 0.05) > 0.001


def test_a90_and_a90_95_are_those_of_an_independent_analysis() -> None:
    """Maximum likelihood and profile likelihood of a90 itself, by a general optimizer."""
    trials = painted(by_chance(3))
    points = np.log([(trial.size_px, trial.strength) for trial in trials])
    hits = np.array([trial.is_found for trial in trials], dtype=float)

    def loss(a90: float, slopes: np.ndarray) -> float:
        logits = math.log(9) + (points - (a90, math.log(CLEAR))) @ slopes
        return float(np.logaddexp(0, logits).sum() - hits @ logits)

    best = optimize.minimize(lambda values: loss(values[0], values[1:]), [2.0, 2.0, 1.0], tol=1e-12)

    def excess(a90: float) -> float:
        profile = optimize.minimize(lambda slopes: loss(a90, slopes), best.x[1:], tol=1e-12).fun
        return float(2 * (profile - best.fun) - stats.norm.ppf(0.95) ** 2)

    [curve] = detection_curves(trials)
    size = curve.size_found(CLEAR)
    assert size.size_px == pytest.approx(math.exp(best.x[0]), rel=1e-3)
    assert size.sure_px == pytest.approx(math.exp(optimize.brentq(excess, best.x[0], best.x[0] + 2)), rel=1e-3)


def test_all_found_says_so_and_no_more() -> None:
    [curve] = detection_curves(painted(lambda *_: True))
    size = curve.size_found(CLEAR)
    assert (size.outcome, size.size_px) == ("all", 2.0)
    assert size.sure_px is not None
    assert (curve.num_painted, curve.num_found) == (120, 120)


def test_of_few_painted_all_found_is_not_sure() -> None:
    [curve] = detection_curves(painted(lambda *_: True, num=9))
    assert curve.size_found(CLEAR).outcome == "all"
    assert curve.size_found(CLEAR).sure_px is None


def test_nothing_found_is_not_reached() -> None:
    [curve] = detection_curves(painted(lambda *_: False))
    size = curve.size_found(CLEAR)
    assert (size.outcome, size.size_px, size.sure_px) == ("not reached", 60.0, None)


def test_a_clean_cut_lies_between_the_largest_missed_and_the_smallest_found() -> None:
    """Where hits and misses do not overlap, no slope is the best one; sizes stay between the two all the same."""
    [curve] = detection_curves(painted(lambda size, *_: size > 10))
    size = curve.size_found(CLEAR)
    assert size.outcome == "reached"
    assert 9.5 < size.size_px < 10.7
    assert size.sure_px is not None
    assert size.size_px < size.sure_px < 20


def test_larger_ones_found_less_often_are_no_size_to_name() -> None:
    """Nothing is made up where the curve falls: 90 % of the largest are not found."""
    [curve] = detection_curves(painted(lambda size, *_: size < 10))
    assert curve.size_found(CLEAR).outcome == "not reached"


def test_stronger_defects_are_found_from_smaller_sizes_on() -> None:
    [curve] = detection_curves(painted(by_chance(0), num=360))
    faint, clear, strong = (curve.size_found(strength).size_px for strength in STRENGTHS.values())
    assert strong < clear < faint


def test_bands_hold_the_curve_and_narrow_with_more_defects() -> None:
    few, many = (detection_curves(painted(by_chance(1), num=num))[0] for num in (60, 600))
    for size in (3.0, 8.0, 30.0):
        low, high = few.bounds(size, CLEAR)
        assert low <= few.probability(size, CLEAR) <= high
        narrow_low, narrow_high = many.bounds(size, CLEAR)
        assert narrow_high - narrow_low < high - low


def test_a_blind_corner_is_marked_and_the_rest_is_not() -> None:
    def seen(size: float, strength: float, place: tuple[float, float]) -> bool:
        return size > 5 and not (place[0] < 0.35 and place[1] > 0.6)

    found = sensitivity(painted(seen, num=600))
    where = found_by_place(found, detection_curves(found.trials))
    assert where.shares.shape == (16, 24)
    assert where.is_weak[13, 3]
    assert where.shares[13, 3] < 0.4 * where.shares[4, 18]
    assert where.is_weak[:, 14:].sum() == 0
    assert where.is_weak[:7].sum() == 0


def test_a_detector_that_sees_alike_everywhere_has_no_blind_place() -> None:
    marked = 0
    for seed in range(5):
        found = sensitivity(painted(by_chance(seed), num=480, seed=seed))
        where = found_by_place(found, detection_curves(found.trials))
        marked += int(where.is_weak.sum())
    assert marked < 0.02 * 5 * where.is_weak.size


def test_places_that_nothing_was_painted_near_are_left_open() -> None:
    trials = [
        dataclasses.replace(trial, place=(trial.place[0] * 0.4, trial.place[1])) for trial in painted(by_chance(0))
    ]
    where = found_by_place(sensitivity(trials), detection_curves(trials))
    assert np.isnan(where.shares[:, 18:]).all()
    assert not np.isnan(where.shares[:, :8]).any()
    assert not where.is_weak[:, 18:].any()


def test_the_sentence_names_sizes_and_the_share_of_all() -> None:
    trials = [*painted(lambda size, *_: size > 8.7), *painted(lambda size, *_: size > 3, kind="scratch", low=1, high=9)]
    sentence = sensitivity_sentence(sensitivity(trials))
    assert "Finds 90 % of clear spots from 8." in sentence
    assert "and of clear scratches from 3.0 px wide; " in sentence
    assert sentence.endswith("% of all 240 painted test defects.")


def test_the_sentence_is_in_millimetres_where_the_scale_is_known() -> None:
    sentence = sensitivity_sentence(sensitivity(painted(lambda size, *_: size > 8.7)), mm_per_px=0.1)
    assert "spots from 0.8" in sentence
    assert " mm;" in sentence
    assert "px" not in sentence


def test_the_sentence_says_what_is_not_found() -> None:
    trials = [*painted(lambda *_: False), *painted(lambda size, *_: size > 3, kind="scratch", low=1, high=9)]
    sentence = sensitivity_sentence(sensitivity(trials))
    assert sentence.startswith(
        "Finds 90 % of clear scratches from 3.0 px wide, less than 90 % of clear spots up to 60 px;"
    )
    nothing = sensitivity_sentence(sensitivity(painted(lambda *_: False)))
    assert nothing == "Finds less than 90 % of clear spots up to 60 px; 0 % of all 120 painted test defects."


def test_of_other_kinds_alone_the_share_is_told() -> None:
    sentence = sensitivity_sentence(sensitivity(painted(lambda *_: True, kind="texture", num=30)))
    assert sentence == "Finds 100 % of all 30 painted test defects."


@pytest.mark.parametrize(
    ("size_px", "mm_per_px", "text"),
    [
        (0.52, None, "0.52 px"),
        (9.0, None, "9.0 px"),
        (99.6, None, "100 px"),
        (9.0, 0.002, "0.018 mm"),
        (40, 2, "80 mm"),
    ],
)
def test_sizes_have_two_digits(size_px: float, mm_per_px: float | None, text: str) -> None:
    assert size_text(size_px, mm_per_px) == text


def test_what_is_found_follows_the_threshold(model: Model) -> None:
    before = model.calibration
    trials = [
        PaintedTrial("spot", 5.0, 2.0, (0.5, 0.5), score, score > before.image_threshold)
        for score in np.linspace(0, 3 * before.image_threshold, 30).tolist()
    ]
    told = Sensitivity(tuple(trials), 3, 0, (64, 64), before.image_threshold)
    after = dataclasses.replace(before, image_threshold=2 * before.image_threshold)
    new = resettled(told, before, after)
    assert new is not None
    assert new.image_threshold == after.image_threshold
    assert round(30 * told.share_found) == 20
    assert round(30 * new.share_found) == num_found_at(told, after.image_threshold) == 10
    back = resettled(new, after, before)
    assert back == told


def with_rules(calibration: Calibration) -> Calibration:
    return dataclasses.replace(calibration, rules=(Rule("ignore", "spot"),))


def test_where_rules_decide_painted_defects_must_be_inspected_again(model: Model) -> None:
    before = model.calibration
    told = Sensitivity((PaintedTrial("spot", 5.0, 2.0, (0.5, 0.5), 1.0, True),), 3, 0, (64, 64), before.image_threshold)
    assert resettled(told, before, with_rules(before)) is None
    assert resettled(told, with_rules(before), before) is None
    assert resettled(told, with_rules(before), with_rules(before)) == told
    assert resettled(told, before, dataclasses.replace(before, graph_sha256="0" * 64)) is None


def test_a_sensitivity_survives_json() -> None:
    told = sensitivity(painted(by_chance(0), num=20))
    assert SENSITIVITY.validate_json(SENSITIVITY.dump_json(told)) == told


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "crack"},
        {"size_px": 0.0},
        {"size_px": math.nan},
        {"strength": -1.0},
        {"place": (0.5, 1.5)},
        {"place": (math.nan, 0.5)},
        {"score": math.inf},
    ],
)
def test_trials_without_meaning_are_refused(wrong: dict[str, object]) -> None:
    values: dict[str, object] = {"kind": "spot", "size_px": 5.0, "strength": 2.0, "place": (0.1, 0.9), "score": 1.0}
    with pytest.raises(CalibrationError, match="painted defect"):
        PaintedTrial(**{**values, "is_found": True, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [{"trials": ()}, {"num_images": 0}, {"num_rejected": -1}, {"image_hw": (0, 5)}, {"image_threshold": math.nan}],
)
def test_a_sensitivity_without_meaning_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(CalibrationError, match=next(iter(wrong))):
        dataclasses.replace(sensitivity(painted(lambda *_: True, num=3)), **wrong)  # type: ignore[arg-type]
