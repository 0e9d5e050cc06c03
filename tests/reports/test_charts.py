"""Charts: every value counted once, every point where it belongs."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.reports.charts import axis_of, band_path, histogram, line_path, step_path, stroke_path

UNIT = axis_of([0.0, 1.0], count=5)
numbers = st.floats(-1e6, 1e6, allow_nan=False)
lists = st.lists(numbers, min_size=1, max_size=60)


def points_of(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]


@settings(deadline=None)
@given(lists, st.floats(0.0, 0.5))
def test_an_axis_holds_its_values_and_a_few_round_ticks(values, margin):
    axis = axis_of(values, margin=margin)
    assert axis.low <= min(values) <= max(values) <= axis.high
    assert 2 <= len(axis.ticks) <= 14
    span = axis.high - axis.low
    assert all(axis.low - 1e-6 * span <= tick <= axis.high + 1e-6 * span for tick in axis.ticks)


@pytest.mark.parametrize(
    ("values", "labels"),
    [([0, 1], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]), ([0, 20000], ["0", "5,000", "10,000", "15,000", "20,000"])],
)
def test_ticks_are_labelled_with_the_digits_they_need(values, labels):
    axis = axis_of(values, count=5)
    assert [axis.label(tick) for tick in axis.ticks] == labels


def test_one_value_alone_gets_room_around_it():
    assert axis_of([3.0]).percent(3.0) == 50.0
    assert axis_of([0.0]).percent(0.0) == 50.0


@settings(deadline=None)
@given(lists, st.data())
def test_each_value_is_counted_once_and_no_bar_straddles_the_anchor(values, data):
    axis = axis_of(values, margin=0.03)
    anchor = data.draw(st.one_of(st.none(), st.sampled_from(values)))
    bars = histogram(values, axis, anchor=anchor)
    assert sum(bars.counts) == len(values)
    if anchor is not None:
        width = bars.edges[1] - bars.edges[0]
        ends = np.array(bars.edges[1:])
        at = int(np.argmin(np.abs(ends - anchor)))
        assert abs(ends[at] - anchor) < 1e-6 * max(width, abs(anchor))
        if (
            min(abs(value - anchor) for value in values if value != anchor) > 1e-6 * width
            if set(values) != {anchor}
            else True
        ):
            assert sum(bars.counts[: at + 1]) == sum(value <= anchor for value in values)


def test_the_highest_bar_fills_the_panel():
    axis = axis_of([0.0, 4.0])
    path = histogram([1.0, 1.0, 3.0], axis, num_bins=4).path(axis)
    assert path == "M0 100V0H25V100ZM50 100V50H75V100Z"


def test_a_line_keeps_its_ends_and_drops_points_on_straight_runs():
    xs = np.linspace(0, 1, 101)
    assert line_path(UNIT, UNIT, xs, xs) == "M0 100L100 0"
    assert points_of(line_path(UNIT, UNIT, [0, 0, 0.5, 1], [0, 0.5, 0.5, 1])) == [(0, 100), (0, 50), (50, 50), (100, 0)]


def test_steps_reach_back_to_the_recall_before_them():
    """What average precision adds up: precision 1 up to recall 0.5, then 0.5 up to recall 1."""
    assert points_of(step_path(UNIT, UNIT, [0.5, 1.0], [1.0, 0.5])) == [(0, 0), (50, 0), (50, 50), (100, 50)]


def test_a_band_is_closed_around_both_limits():
    path = band_path(UNIT, UNIT, [0, 1], [0.2, 0.2], [0.4, 0.6])
    assert points_of(path) == [(0, 60), (100, 40), (100, 80), (0, 80)]
    assert path.endswith("Z")


def test_there_is_one_stroke_for_each_value():
    assert stroke_path(UNIT, [0.25, 0.5, 0.25]) == "M25 0V100M50 0V100"
