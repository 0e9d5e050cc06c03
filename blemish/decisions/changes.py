"""What a calibration decides, row by row in words, and what differs between two of them."""

from __future__ import annotations

from dataclasses import dataclass

from blemish.decisions.promise import percent
from blemish.decisions.rule_text import describe_rule
from blemish.schema import Calibration, CostCurve, Promise, RegionSettings, Zone


@dataclass(frozen=True)
class Change:
    """A row that differs: what it is called, what it was and what it is."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.name}: {self.before} -> {self.after}"


def describe(calibration: Calibration) -> dict[str, str]:
    """Everything that a calibration decides with, each under its name; "none" where there is no such thing."""
    promise, review = calibration.promise, calibration.review_promise
    return {
        "threshold": f"{calibration.image_threshold:.6g}",
        "pixel threshold": f"{calibration.pixel_threshold:.6g}",
        "false reject rate": _rate(promise),
        "review threshold": _number(calibration.review_threshold),
        "review rate": "none" if review is None else _rate(review),
        "confidence": "none" if promise.reading == "average" else percent(promise.confidence),
        "costs": describe_costs(calibration.cost_curve),
        "rules": "; ".join(map(describe_rule, calibration.rules)) or "none",
        "zone": describe_zone(calibration.zone),
        "scale": "none" if calibration.mm_per_px is None else f"{calibration.mm_per_px:g} mm per pixel",
        "good images": f"{len(calibration.good_scores)} ({calibration.method})",
        "regions": _regions(calibration.regions),
        "graph": calibration.graph_sha256[:12],
    }


def changes(before: Calibration, after: Calibration) -> tuple[Change, ...]:
    """The rows in which two calibrations differ; what differs without a row of its own is told by its kind."""
    old, new = describe(before), describe(after)
    found = [Change(name, old[name], new[name]) for name in old if old[name] != new[name]]
    named = {change.name for change in found}
    for name, fields in _BEHIND.items():
        if name not in named and any(getattr(before, field) != getattr(after, field) for field in fields):
            found.append(Change(name, old[name], f"{new[name]} (other details)"))
    return tuple(found)


_BEHIND = {
    "threshold": ("image_threshold", "promise", "display_spread"),
    "pixel threshold": ("pixel_threshold",),
    "review threshold": ("review_threshold", "review_promise"),
    "costs": ("cost_curve",),
    "rules": ("rules",),
    "zone": ("zone",),
    "scale": ("mm_per_px",),
    "good images": ("good_scores", "good_map_maxima", "good_shares", "conditions", "method"),
    "regions": ("regions",),
    "graph": ("graph_sha256",),
}
"""Row -> the fields behind it, of which its text shows a part."""


def describe_costs(curve: CostCurve | None) -> str:
    """What mistakes cost, and what is known of defects; or "none"."""
    if curve is None:
        return "none"
    costs = curve.costs
    measured = f"measured on {curve.num_defective}"
    source = measured if curve.assumed_shift is None else f"assumed {curve.assumed_shift:.4g} over good parts"
    return (
        f"{costs.escape:g} per escape, {costs.reject:g} per false reject, {percent(costs.defect_rate)} defective, "
        f"defects {source}"
    )


def describe_zone(zone: Zone | None) -> str:
    """Where is looked, or "none".

    >>> describe_zone(Zone(ignore=(((0, 0), (1, 0), (1, 0.1)),)))
    'all but 1 polygon'
    """
    if zone is None:
        return "none"
    parts = []
    if zone.mask is not None:
        height, width = zone.mask.image_hw
        share = sum(zone.mask.runs[1::2]) / (height * width)
        parts.append(f"{percent(share)} of the image, by a mask of {width} x {height} pixels")
    if zone.inspect:
        parts.append(f"inside {_polygons(len(zone.inspect))}")
    if zone.ignore:
        parts.append(f"all but {_polygons(len(zone.ignore))}")
    return ", ".join(parts) or "the whole image"


def _rate(promise: Promise) -> str:
    """What was asked for, and what is promised where that is something else."""
    wanted = percent(promise.wanted_rate)
    return f"{wanted} wanted" if promise.is_kept else f"{wanted} wanted, {percent(promise.rate)} supported"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def _polygons(number: int) -> str:
    return f"{number} polygon{'' if number == 1 else 's'}"


def _regions(settings: RegionSettings) -> str:
    return (
        f"grown to {settings.grow_threshold:.6g}, opened {settings.opening_px}, closed {settings.closing_px}, "
        f"joined {settings.join_px} px, from {settings.min_area_px2} px2"
    )
