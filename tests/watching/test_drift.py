"""The drift watch: exact p-values, a bounded probability of false alarms, quick alarms on real images."""

import json
import math
import os
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter
from scipy import stats

from blemish.errors import CalibrationError, SettingsError
from blemish.schema import Condition, Image
from blemish.watching.conditions import CONDITIONS, good_conditions, measure_conditions, measure_picture
from blemish.watching.drift import (
    NUM_BINS,
    SHIFTS,
    STAKE,
    DriftMonitor,
    DriftReport,
    DriftSettings,
    DriftState,
    log_bets,
    log_total,
    rank_p_value,
    signed_shifts,
    start_drift,
    step,
)

DATA = Path(os.environ.get("BLEMISH_DATA", "no-data"))


def condition_of(values: NDArray[np.float64], name: str = "score", side: str = "both") -> Condition:
    return Condition(name, tuple(sorted(values.tolist())), side)  # type: ignore[arg-type]


def p_values_of(good: NDArray[np.float64], parts: NDArray[np.float64], rng: np.random.Generator) -> list[float]:
    """As the monitor ranks parts; ties are broken by giving each value a random place among its equals."""
    ordered = sorted(zip(good.tolist(), rng.random(len(good)), strict=True))
    counts = np.zeros(len(good) + 1, dtype=np.int64)
    found = []
    for part in zip(parts.tolist(), rng.random(len(parts)), strict=True):
        place = sum(value < part for value in ordered)
        found.append(rank_p_value(counts, place, rng.random()))
        counts[place] += 1
    return found


@pytest.mark.parametrize("kind", ["continuous", "tied"])
def test_p_values_are_uniform_and_independent(kind: str) -> None:
    """With 3 good images and 5 parts, all cells of a 2 x 2 x ... table of p-values are equally probable."""
    rng = np.random.default_rng(0)
    draws = 6000
    scores = rng.standard_cauchy((draws, 8)) if kind == "continuous" else rng.integers(0, 3, (draws, 8)).astype(float)
    found = np.array([p_values_of(row[:3], row[3:], rng) for row in scores])
    for column in found.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-6
    cells = np.bincount((found > 0.5) @ (1, 2, 4, 8, 16), minlength=32)
    assert stats.chisquare(cells).pvalue > 1e-6
    finer = np.bincount((found[:, 3:] * 4).astype(int) @ (1, 4), minlength=16)
    assert stats.chisquare(finer).pvalue > 1e-6


@pytest.mark.parametrize("defect_rate", [0.0, 0.02, 0.1])
def test_no_bet_wins_on_average(defect_rate: float) -> None:
    """Also not when a share of the parts is chosen to let it win as much as it can."""
    pays = np.exp(log_bets(defect_rate))
    worst = (1 - defect_rate) * pays.mean(axis=1) + defect_rate * pays.max(axis=1)
    assert worst == pytest.approx(np.ones(2 * len(SHIFTS)))


def test_bets_are_the_density_of_shifted_ranks() -> None:
    pays = np.exp(log_bets(0.0))
    edges = stats.norm.isf(np.arange(NUM_BINS + 1) / NUM_BINS)
    for row, shift in zip(pays, signed_shifts(), strict=True):
        density = NUM_BINS * np.diff(stats.norm.sf(edges - shift))
        assert row == pytest.approx(STAKE * density + 1 - STAKE, rel=1e-9)


def capital_over_time(p_values: NDArray[np.float64], defect_rate: float) -> NDArray[np.float64]:
    """The whole capital after each part, (parts, ...): what each bet makes of the capital that begins at each part."""
    num_parts = len(p_values)
    gains = np.cumsum(log_bets(defect_rate).T[(p_values * NUM_BINS).astype(int)], axis=0)
    kept = 1 / np.log2(np.arange(num_parts + 1) + 2)
    begun = np.log(kept[:-1] - kept[1:]).reshape(-1, *(1,) * p_values.ndim)
    before = np.concatenate([np.zeros_like(gains[:1]), gains[:-1]])
    log_capital = gains + np.logaddexp.accumulate(begun - before, axis=0)
    return np.exp(np.minimum(log_capital, 500)).mean(axis=-1) + kept[1:].reshape(-1, *(1,) * (p_values.ndim - 1))


def test_the_steps_add_up_to_the_closed_form() -> None:
    p_values = np.random.default_rng(1).beta(0.5, 1, (60, 3))
    expected = capital_over_time(p_values, 0.02)
    log_capital = np.full((3, 2 * len(SHIFTS)), -1e9)
    for part in range(1, 61):
        log_capital = step(log_capital, p_values[part - 1], part, log_bets(0.02))
        found = log_total(log_capital, part, np.ones(2 * len(SHIFTS), dtype=bool))
        assert found == pytest.approx(np.log(expected[part - 1]), abs=1e-9)


def test_over_100000_good_parts_false_alarms_are_as_rare_as_stated() -> None:
    """Watches on uniform p-values, which good parts give them as the tests above show."""
    rng = np.random.default_rng(2)
    largest = np.array([capital_over_time(rng.random(100_000), 0.02).max() for _ in range(60)])
    for false_alarm in (0.2, 0.05, 0.01):
        assert (largest >= 1 / false_alarm).sum() <= stats.binom.ppf(1 - 1e-6, 60, false_alarm)


def test_a_few_defective_parts_are_no_drift() -> None:
    rng = np.random.default_rng(3)
    p_values = np.where(rng.random((2_000, 200)) < 0.1, 0.0, rng.random((2_000, 200)))
    tolerant, strict = (capital_over_time(p_values, rate).max(axis=0) for rate in (0.1, 0.0))
    limit = stats.binom.ppf(1 - 1e-6, 200, 0.05)
    assert (tolerant >= 20).sum() <= limit
    assert (strict >= 20).sum() > limit


def test_the_capital_is_fair() -> None:
    """Without the payment for defective parts the mean capital stays 1."""
    rng = np.random.default_rng(3)
    draws, bets, is_allowed = 200_000, log_bets(0.0), np.ones(2 * len(SHIFTS), dtype=bool)
    log_capital = np.full((draws, 2 * len(SHIFTS)), -1e9)
    for part in range(1, 4):
        log_capital = step(log_capital, rng.random(draws), part, bets)
    capital = np.exp(log_total(log_capital, 3, is_allowed))
    assert capital.mean() == pytest.approx(1, abs=4.9 * capital.std() / math.sqrt(draws))


def test_a_long_watch_over_good_parts_gives_no_alarm() -> None:
    rng = np.random.default_rng(4)
    conditions = [condition_of(rng.gamma(3, size=60), name, side) for name, side in CONDITIONS[:2]]
    monitor = DriftMonitor(conditions)
    for values in rng.gamma(3, size=(20_000, 2)).tolist():
        report = monitor.update(values)
    assert not report.is_void
    assert report.num_parts == 20_000
    assert report.sentence == "No sign of drift in 20,000 parts."


@pytest.mark.parametrize("num_before", [0, 100, 5_000])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_shift_of_three_deviations_is_seen_within_30_parts(num_before: int, sign: int) -> None:
    rng = np.random.default_rng(5)
    condition = condition_of(rng.normal(size=200), "brightness")
    monitor = DriftMonitor([condition])
    for value in rng.normal(size=num_before):
        assert not monitor.update([value]).is_void
    assert parts_until_alarm(monitor, (rng.normal(size=(30, 1)) + 3 * sign).tolist()) is not None


def test_scores_that_fall_are_no_drift() -> None:
    """The final model saw more images than those of cross-fitting, so scores may be lower than the good scores."""
    rng = np.random.default_rng(6)
    monitor = DriftMonitor([condition_of(rng.normal(size=200), side="over")])
    assert parts_until_alarm(monitor, (rng.normal(size=(300, 1)) - 3).tolist()) is None
    assert parts_until_alarm(monitor, (rng.normal(size=(30, 1)) + 3).tolist()) is not None


def parts_until_alarm(monitor: DriftMonitor, parts: list[list[float]]) -> int | None:
    for number, values in enumerate(parts, start=1):
        if monitor.update(values).is_void:
            return number
    return None


def test_an_alarm_names_the_condition_and_stays() -> None:
    rng = np.random.default_rng(7)
    conditions = [condition_of(rng.normal(size=100)), condition_of(rng.normal(100, 2, size=100), "position_x")]
    monitor = DriftMonitor(conditions)
    for shift in rng.normal(120, 2, size=30):
        report = monitor.update([0.0, shift])
    assert report.is_void
    assert "Part 3: the parts no longer look like the good images: the median position x of the last 3 parts is 12" in (
        report.sentence
    )
    assert "The promise is void" in report.sentence
    for usual in rng.normal(100, 2, size=200):
        later = monitor.update([0.0, usual])
    assert later.is_void
    assert later.sentence == report.sentence
    assert DriftMonitor(conditions, monitor.state).report().is_void


def test_a_watch_goes_on_after_it_was_saved() -> None:
    rng = np.random.default_rng(8)
    conditions = [condition_of(rng.integers(0, 5, 30).astype(float)), condition_of(rng.normal(size=30), "brightness")]
    parts = np.stack([rng.integers(0, 5, 100), rng.normal(size=100)], axis=1).tolist()
    whole, broken = DriftMonitor(conditions), DriftMonitor(conditions)
    adapter = TypeAdapter(DriftState)
    reports: list[tuple[DriftReport, DriftReport]] = []
    for values in parts:
        saved = adapter.dump_json(broken.state)
        json.loads(saved.decode(), parse_constant=pytest.fail)
        broken = DriftMonitor(conditions, adapter.validate_json(saved))
        reports.append((whole.update(values), broken.update(values)))
    assert all(first == second for first, second in reports)
    assert whole.state == broken.state


def test_errors() -> None:
    condition = condition_of(np.arange(10.0))
    with pytest.raises(CalibrationError, match="no conditions"):
        start_drift([])
    with pytest.raises(CalibrationError, match="another calibration"):
        DriftMonitor([condition, condition], start_drift([condition]))
    with pytest.raises(CalibrationError, match="another calibration"):
        DriftMonitor([condition_of(np.arange(1.0, 11.0))], start_drift([condition]))
    with pytest.raises(CalibrationError, match="score of a part is nan"):
        DriftMonitor([condition]).update([math.nan])
    with pytest.raises(ValueError, match="expected 1 values"):
        DriftMonitor([condition]).update([1.0, 2.0])
    with pytest.raises(SettingsError, match="false_alarm"):
        DriftSettings(false_alarm=0)
    with pytest.raises(SettingsError, match="defect_rate"):
        DriftSettings(defect_rate=0.5)


def changed(image: Image, change: str) -> Image:
    if change in ("darker", "brighter"):
        factor = 0.9 if change == "darker" else 1.1
        return np.clip(image * factor + 0.5, 0, 255).astype(np.uint8)
    if change == "out of focus":
        return np.asarray(cv2.GaussianBlur(image, (0, 0), 1.0), np.uint8)
    return np.roll(image, 6, axis=1)


@lru_cache(maxsize=1)
def shuffled_images(name: str) -> list[Image]:
    paths = sorted((DATA / name / "train" / "good").glob("*"))
    order = np.random.default_rng(9).permutation(len(paths))
    return [cv2.resize(cv2.imread(str(paths[place])), (256, 256), interpolation=cv2.INTER_AREA) for place in order]


@pytest.mark.parametrize("change", ["nothing", "darker", "brighter", "out of focus", "camera shift"])
@pytest.mark.parametrize("name", ["mvtec_bottle", "mvtec_pill", "kolektorsdd"])
def test_changes_of_real_images_are_seen_within_30_parts(name: str, change: str) -> None:
    """Two thirds of the good images as reference, then unchanged parts, then changed ones, in a random order."""
    images = shuffled_images(name)
    if not images:
        pytest.skip("set BLEMISH_DATA to a folder with this set in MVTec AD layout")
    if (name, change) == ("kolektorsdd", "camera shift"):
        pytest.skip("its surface looks the same everywhere, so a shift of six pixels changes nothing")
    cut, middle = len(images) * 2 // 3, len(images) * 5 // 6
    monitor = DriftMonitor(good_conditions([0.0] * cut, map(measure_picture, images[:cut])))
    before = [measure_conditions(image, 0.0) for image in images[cut:middle]]
    assert parts_until_alarm(monitor, before) is None
    if change == "nothing":
        after = [measure_conditions(image, 0.0) for image in images[middle:]]
        assert parts_until_alarm(monitor, after) is None
    else:
        after = [measure_conditions(changed(image, change), 0.0) for image in images[middle : middle + 30]]
        assert parts_until_alarm(monitor, after) is not None


def test_conditions_may_have_references_of_different_sizes() -> None:
    rng = np.random.default_rng(10)
    conditions = [condition_of(rng.normal(size=30), side="over"), condition_of(rng.normal(size=120), "brightness")]
    monitor = DriftMonitor(conditions)
    assert parts_until_alarm(monitor, rng.normal(size=(200, 2)).tolist()) is None
    restored = DriftMonitor(conditions, monitor.state)
    assert parts_until_alarm(restored, (rng.normal(size=(30, 2)) + np.array((0, 4))).tolist()) is not None


@pytest.mark.parametrize("side", ["over", "both"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_however_far_the_parts_go_the_evidence_is_a_number(side: str, sign: int) -> None:
    """Bets that are not allowed may win more than a float can hold beside those that are."""
    monitor = DriftMonitor([condition_of(np.arange(5000.0), side=side)])
    with np.errstate(all="raise", under="ignore"):
        for number in range(1000):
            report = monitor.update([sign * (10_000.0 + number)])
    assert math.isfinite(report.evidence)
    assert report.is_void is (side == "both" or sign > 0)


def test_capital_of_any_size_has_a_total() -> None:
    rng = np.random.default_rng(11)
    is_allowed = np.array([True, True, False, False])
    for scale in (1.0, 100.0, 1e4, 1e8):
        log_capital = rng.normal(0, scale, (200, 4))
        with np.errstate(all="raise", under="ignore"):
            total = log_total(log_capital, 7, is_allowed)
        exact = np.logaddexp.reduce(
            np.append(log_capital[:, :2] - math.log(2), np.full((200, 1), -math.log(math.log2(9))), 1), 1
        )
        np.testing.assert_allclose(total, exact, rtol=1e-12)


def test_a_part_that_is_refused_leaves_no_trace() -> None:
    condition = condition_of(np.arange(10.0))
    monitor = DriftMonitor([condition, condition])
    before = monitor.state
    with pytest.raises(CalibrationError):
        monitor.update([1.0, math.inf])
    assert monitor.state == before
