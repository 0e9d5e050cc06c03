"""Painted defects found and missed -> from which size on they are found, where they are not, and that in words.

The analysis is that of a hit/miss study of the probability of detection (MIL-HDBK-1823A): a logistic curve over the
logarithm of the size for each kind of defect, here also over that of the strength. a90 is the size from which on 90 %
are found, a90/95 the size from which on that is shown with 95 % confidence.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from blemish.decisions.logistic import Logistic, fit_logistic
from blemish.decisions.promise import percent
from blemish.schema import Calibration, GradedKind, PaintedTrial, Sensitivity

STRENGTHS: Mapping[str, float] = MappingProxyType({"faint": 1.0, "clear": 2.0, "strong": 4.0})
"""The strengths that defects are painted with, by name; "clear" is what is meant where none is named."""
SHARE, CONFIDENCE = 0.9, 0.95
"""The share and the confidence of a90/95."""
NOT_REAL = (
    "Painted defects are not real ones: they compare settings and places, and real defects of the same size may be "
    "found more or less often."
)

NOUNS: Mapping[GradedKind, str] = MappingProxyType(
    {"spot": "spots", "scratch": "scratches", "missing": "missing pieces", "texture": "patches of another texture"}
)
"""What several defects of a kind are called."""
_HEADLINE: tuple[GradedKind, ...] = ("spot", "scratch")


@dataclass(frozen=True)
class SizeFound:
    """From which size on `SHARE` of the defects of a kind and strength are found.

    `outcome` "reached": from `size_px` on; "all": from the smallest size painted on, `size_px`; "not reached": not even
    of the largest size painted, `size_px`. `sure_px` is the size from which on that is so with `CONFIDENCE`, None where
    the painted defects do not show it for any size.
    """

    outcome: Literal["reached", "all", "not reached"]
    size_px: float
    sure_px: float | None


@dataclass(frozen=True)
class DetectionCurve:
    """The probability that a painted defect of a kind is found, over its size in pixels and its strength.

    Sizes were painted from `smallest_px` to `largest_px`; outside nothing is known.
    """

    kind: GradedKind
    num_painted: int
    num_found: int
    smallest_px: float
    largest_px: float
    fit: Logistic

    def probability(self, size_px: float, strength: float) -> float:
        """The probability of a find."""
        return self.fit.probability(_point(size_px, strength))

    def bounds(self, size_px: float, strength: float) -> tuple[float, float]:
        """Limits of the probability, each one-sided with `CONFIDENCE`."""
        return self.fit.bounds(_point(size_px, strength), CONFIDENCE)

    def size_found(self, strength: float) -> SizeFound:
        """a90 and a90/95 for a strength."""
        low, high = math.log(self.smallest_px), math.log(self.largest_px)

        def is_found(log_size: float) -> bool:
            return self.probability(math.exp(log_size), strength) >= SHARE

        def is_sure(log_size: float) -> bool:
            return self.fit.exceeds((log_size, math.log(strength)), SHARE, CONFIDENCE)

        sure_px = None
        if is_sure(high):
            sure_px = math.exp(low if is_sure(low) else _first(is_sure, low, high))
        if not is_found(high):
            return SizeFound("not reached", self.largest_px, sure_px)
        if is_found(low):
            return SizeFound("all", self.smallest_px, sure_px)
        return SizeFound("reached", math.exp(_first(is_found, low, high)), sure_px)


def detection_curves(trials: Sequence[PaintedTrial]) -> tuple[DetectionCurve, ...]:
    """A curve for each kind that was painted."""
    curves = []
    for kind in get_args(GradedKind):
        painted = [trial for trial in trials if trial.kind == kind]
        if painted:
            fit = fit_logistic(
                [_point(trial.size_px, trial.strength) for trial in painted], [trial.is_found for trial in painted]
            )
            sizes = [trial.size_px for trial in painted]
            num_found = sum(trial.is_found for trial in painted)
            curves.append(DetectionCurve(kind, len(painted), num_found, min(sizes), max(sizes), fit))
    return tuple(curves)


@dataclass(frozen=True)
class FoundByPlace:
    """Which share of the painted defects would be found if all lay about one place: (rows, columns) over the image.

    NaN where none was painted near. Places differ from each other by chance too: `is_weak` marks those that find
    clearly less than the whole.
    """

    shares: NDArray[np.float64]
    is_weak: NDArray[np.bool_]


def found_by_place(
    sensitivity: Sensitivity, curves: Sequence[DetectionCurve], *, longer_side: int = 24
) -> FoundByPlace:
    """The share found about each place, from the painted defects around it; sizes and strengths are accounted for.

    About each place the logit of all curves is moved by one number, estimated from the defects painted within about a
    tenth of the image and drawn towards 0 (prior deviation 1), so that few defects near do not say much.
    """
    height, width = sensitivity.image_hw
    scale = longer_side / max(height, width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    by_kind = {curve.kind: curve for curve in curves}
    trials = sensitivity.trials
    usual = np.array([by_kind[trial.kind].fit.logit(_point(trial.size_px, trial.strength)) for trial in trials])
    usual = np.clip(usual, -8, 8)
    hits = np.array([trial.is_found for trial in trials], dtype=np.float64)
    places = np.array([trial.place for trial in trials]) * (width * scale, height * scale)
    y, x = np.mgrid[:rows, :columns] + 0.5
    apart = (x.ravel()[:, None] - places[:, 0]) ** 2 + (y.ravel()[:, None] - places[:, 1]) ** 2
    near = np.exp(-apart / (2 * (0.08 * longer_side) ** 2))
    moves = np.zeros(rows * columns)
    for _ in range(12):
        chance = 1 / (1 + np.exp(-(usual + moves[:, None])))
        certainty = (near * chance * (1 - chance)).sum(axis=1) + 1
        moves += ((near * (hits - chance)).sum(axis=1) - moves) / certainty
    shares = (1 / (1 + np.exp(-(usual + moves[:, None])))).mean(axis=1)
    is_weak = (moves * np.sqrt(certainty) < -2) & (shares < 0.75 * sensitivity.share_found)
    seen = near.sum(axis=1) > 1
    return FoundByPlace(np.where(seen, shares, np.nan).reshape(rows, columns), (is_weak & seen).reshape(rows, columns))


def num_found_at(sensitivity: Sensitivity, threshold: float) -> int:
    """How many of the painted defects score over a threshold; rules are left aside."""
    return sum(trial.score > threshold for trial in sensitivity.trials)


def resettled(sensitivity: Sensitivity, before: Calibration, after: Calibration) -> Sensitivity | None:
    """What was found under a new calibration of the same graph; None where painted defects must be inspected anew.

    A score is compared with the new threshold; where rules decide too, or the zone is another one, it does not tell.
    """
    if dataclasses.replace(before, created=after.created, by=after.by, reason=after.reason) == after:
        return sensitivity
    if before.graph_sha256 != after.graph_sha256 or before.zone != after.zone or before.rules or after.rules:
        return None
    trials = tuple(
        dataclasses.replace(trial, is_found=trial.score > after.image_threshold) for trial in sensitivity.trials
    )
    return dataclasses.replace(sensitivity, trials=trials, image_threshold=after.image_threshold)


def sensitivity_sentence(sensitivity: Sensitivity, mm_per_px: float | None = None) -> str:
    """From which size on clear spots and scratches are found, and how many of all painted defects.

    In millimetres where the scale is known.
    """
    curves = {curve.kind: curve for curve in detection_curves(sensitivity.trials)}
    found, missed = [], []
    for kind in _HEADLINE:
        if kind in curves:
            size = curves[kind].size_found(STRENGTHS["clear"])
            text = size_text(size.size_px, mm_per_px) + (" wide" if kind == "scratch" else "")
            if size.outcome == "not reached":
                missed.append(f"clear {NOUNS[kind]} up to {text}")
            else:
                found.append(f"clear {NOUNS[kind]} from {text}")
    parts = [f"{percent(SHARE)} of {' and of '.join(found)}"] if found else []
    if missed:
        parts.append(f"less than {percent(SHARE)} of {' and of '.join(missed)}")
    total = len(sensitivity.trials)
    return (
        f"Finds {', '.join(parts)}; {percent(sensitivity.share_found)} of all {total:,} painted test defects."
        if parts
        else f"Finds {percent(sensitivity.share_found)} of all {total:,} painted test defects."
    )


def sensitivity_facts(sensitivity: Sensitivity, mm_per_px: float | None = None) -> dict[str, Any]:
    """The result as plain JSON values: the sentence, counts, and for each kind and strength the sizes found.

    `size_px` and `sure_px` are those of `SizeFound`; the same in `_mm` where the scale is known.
    """
    sizes = []
    for curve in detection_curves(sensitivity.trials):
        for name, strength in STRENGTHS.items():
            size = curve.size_found(strength)
            row = {"kind": curve.kind, "strength": name, **dataclasses.asdict(size)}
            if mm_per_px is not None:
                row["size_mm"] = size.size_px * mm_per_px
                row["sure_mm"] = None if size.sure_px is None else size.sure_px * mm_per_px
            sizes.append(row)
    return {
        "sensitivity": sensitivity_sentence(sensitivity, mm_per_px),
        "share_found": sensitivity.share_found,
        "num_painted": len(sensitivity.trials),
        "num_images": sensitivity.num_images,
        "num_rejected": sensitivity.num_rejected,
        "sizes": sizes,
    }


def size_text(size_px: float, mm_per_px: float | None = None) -> str:
    """A size in pixels, or in millimetres where the scale is known, with two digits.

    >>> size_text(8.77), size_text(3.46), size_text(121.6), size_text(9.0, 0.05)
    ('8.8 px', '3.5 px', '122 px', '0.45 mm')
    """
    value, unit = (size_px, "px") if mm_per_px is None else (size_px * mm_per_px, "mm")
    digits = max(0, 1 - math.floor(math.log10(value)))
    return f"{value:.{digits}f} {unit}"


def _point(size_px: float, strength: float) -> tuple[float, float]:
    return math.log(size_px), math.log(strength)


def _first(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The smallest number from which on a condition holds that fails at `low` and holds at `high`."""
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
