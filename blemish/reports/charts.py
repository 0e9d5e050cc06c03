"""What charts are made of: axes, ticks and paths in percent of the plot area, drawn by the page templates.

A plot area is an SVG that stretches with the page while its labels stay text of the page: so charts are readable on a
phone, follow the theme and print. Paths therefore live in a square of 100 by 100, y down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high` with labelled ticks inside it; with `is_logarithm` these are powers of ten."""

    low: float
    high: float
    ticks: tuple[float, ...]
    is_logarithm: bool = False

    def percent(self, value: float) -> float:
        """Where a value lies on the axis, 0 to 100; values outside are put at the ends.

        >>> axis_of([0.0, 10.0]).percent(2.5)
        25.0
        """
        span = self.high - self.low
        return 100.0 * min(max((value - self.low) / span, 0.0), 1.0)

    def label(self, value: float) -> str:
        """A tick's number with as many digits as the ticks' spacing needs."""
        if self.is_logarithm:
            return f"{10.0**value:.6g}"
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else 1.0
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        return f"{value:,.{digits}f}"


def axis_of(values: ArrayLike, *, margin: float = 0.0, count: int = 6) -> Axis:
    """An axis that holds all values, with `margin` as a share of their span on either side, and about `count` ticks.

    >>> axis_of([0.0, 9.0], count=4).ticks
    (0.0, 2.0, 4.0, 6.0, 8.0)
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    low, high = float(array.min()), float(array.max())
    if high <= low:
        # One value alone: any span around it will do.
        half = abs(low) / 10 or 0.5
        low, high = low - half, high + half
    low, high = low - margin * (high - low), high + margin * (high - low)
    step = _round_step((high - low) / max(count, 1))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Axis(low, high, tuple(float(f"{number * step:.12g}") for number in range(first, last + 1)))


def log_axis(axis: Axis) -> Axis:
    """The same axis over logarithms, with ticks at 1, 2 and 5 times powers of ten or round numbers between these.

    >>> [f"{10**tick:g}" for tick in log_axis(Axis(-1.0, 0.5, ())).ticks]
    ['0.1', '0.2', '0.5', '1', '2']
    """
    first, last = math.floor(axis.low), math.ceil(axis.high)
    ticks = [math.log10(factor * 10.0**power) for power in range(first, last + 1) for factor in (1, 2, 5)]
    inside = [tick for tick in ticks if axis.low <= tick <= axis.high]
    if len(inside) > 6:
        inside = [tick for tick in inside if abs(tick - round(tick)) < 1e-9]
    if len(inside) < 2:
        round_numbers = axis_of([10.0**axis.low, 10.0**axis.high], count=4).ticks
        inside = [tick for tick in map(math.log10, round_numbers) if axis.low <= tick <= axis.high]
    return Axis(axis.low, axis.high, tuple(inside), is_logarithm=True)


def line_path(x: Axis, y: Axis, xs: ArrayLike, ys: ArrayLike) -> str:
    """The path through the points, in order; points on a straight line between their neighbors are left out."""
    points = _points(x, y, xs, ys)
    return _path(points[_is_corner(points)])


def step_path(x: Axis, y: Axis, xs: ArrayLike, ys: ArrayLike) -> str:
    """The path that keeps each height back to the x before it: what a step sum such as average precision adds up."""
    points = _points(x, y, xs, ys)
    start = np.array([[x.percent(x.low), points[0, 1]]])
    rises = np.column_stack([points[:-1, 0], points[1:, 1]])
    steps = np.empty((2 * len(points) - 1, 2))
    steps[0::2], steps[1::2] = points, rises
    steps = np.concatenate([start, steps])
    return _path(steps[_is_corner(steps)])


def band_path(x: Axis, y: Axis, xs: ArrayLike, lows: ArrayLike, highs: ArrayLike) -> str:
    """The closed path around the space between two lines."""
    upper, lower = _points(x, y, xs, highs), _points(x, y, xs, lows)
    return f"{_path(np.concatenate([upper, lower[::-1]]))}Z"


def stroke_path(x: Axis, values: ArrayLike) -> str:
    """A stroke of full height for each value."""
    return "".join(f"M{_short(x.percent(value))} 0V100" for value in np.unique(np.asarray(values, dtype=np.float64)))


@dataclass(frozen=True)
class Histogram:
    """Counts in bins of one width, `edges` one longer than `counts`."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def max_count(self) -> int:
        return max(self.counts, default=0)

    def path(self, x: Axis) -> str:
        """The bars as one path, the highest as high as the plot area."""
        bars = []
        for left, right, count in zip(self.edges, self.edges[1:], self.counts, strict=False):
            if count:
                start, end, top = x.percent(left), x.percent(right), 100.0 - 100.0 * count / self.max_count
                bars.append(f"M{_short(start)} 100V{_short(top)}H{_short(end)}V100Z")
        return "".join(bars)


def histogram(values: ArrayLike, x: Axis, *, anchor: float | None = None, num_bins: int = 48) -> Histogram:
    """The histogram of values over the axis; with an `anchor`, a bin ends there, so that no bar straddles it.

    A value that lies on an edge counts in the bin that ends there, as a score at the threshold is not over it.

    >>> histogram([1.0, 2.0, 2.5], axis_of([0.0, 4.0]), anchor=2.0, num_bins=2).counts
    (2, 1)
    """
    width = (x.high - x.low) / num_bins
    start = x.low if anchor is None else anchor - math.ceil((anchor - x.low) / width - 1e-9) * width
    bins = math.ceil((x.high - start) / width - 1e-9)
    array = np.asarray(values, dtype=np.float64).ravel()
    places = np.ceil((array - start) / width - 1e-9).astype(np.intp) - 1
    counts = np.bincount(np.clip(places, 0, bins - 1), minlength=bins)
    return Histogram(tuple(start + width * number for number in range(bins + 1)), tuple(counts.tolist()))


def _points(x: Axis, y: Axis, xs: ArrayLike, ys: ArrayLike) -> NDArray[np.float64]:
    across = (np.asarray(xs, dtype=np.float64) - x.low) / (x.high - x.low)
    up = (np.asarray(ys, dtype=np.float64) - y.low) / (y.high - y.low)
    return 100.0 * np.clip(np.column_stack([across, 1.0 - up]), 0.0, 1.0)


def _is_corner(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    keep = np.ones(len(points), dtype=np.bool_)
    if len(points) > 2:
        before, after = points[1:-1] - points[:-2], points[2:] - points[1:-1]
        turn = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
        keep[1:-1] = np.abs(turn) > 1e-9
    return keep


def _path(points: NDArray[np.float64]) -> str:
    return "M" + "L".join(f"{_short(x)} {_short(y)}" for x, y in points.tolist())


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _round_step(step: float) -> float:
    """The nearest of 1, 2, 5 times a power of ten, by ratio."""
    power = 10.0 ** math.floor(math.log10(step))
    return min((factor * power for factor in (1, 2, 5, 10)), key=lambda round_step: abs(math.log(round_step / step)))
