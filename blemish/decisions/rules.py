"""Judging regions by rules: rules speak for the regions they match, the score for the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from blemish.decisions.rule_text import describe_rule
from blemish.errors import CalibrationError
from blemish.schema import Decision, Region, Rule

SCRATCH_ELONGATION = 3.0
"""How many times longer than wide a region is at least to count as a scratch."""

_SEVERITY: dict[Decision, int] = {"accept": 0, "review": 1, "reject": 2}


@dataclass(frozen=True)
class Ruling:
    """The decision after rules, the regions that no rule ignores, and why, one sentence per region with a rule."""

    decision: Decision
    regions: tuple[Region, ...]
    reasons: tuple[str, ...]


def apply_rules(decision: Decision, regions: tuple[Region, ...], rules: Sequence[Rule], *, num_more: int = 0) -> Ruling:
    """The decision about an image once each region is judged by the first rule that matches it.

    A region without a matching rule, and an image without regions, is judged by `decision`, that of the score; so are
    `num_more` regions that nobody measured. The worst judgement counts; where rules ignore every region, the image is
    accepted.
    """
    if not rules or not regions:
        return Ruling(decision, regions, ())
    kept: list[Region] = []
    reasons: list[str] = []
    worst: Decision = decision if num_more else "accept"
    for region in regions:
        rule = next((rule for rule in rules if matches(rule, region)), None)
        if rule is not None:
            reasons.append(f"{_describe_region(region)}: rule '{describe_rule(rule)}'")
            if rule.action == "ignore":
                continue
        kept.append(region)
        judged: Decision = decision if rule is None or rule.action == "ignore" else rule.action
        worst = max(worst, judged, key=_SEVERITY.__getitem__)
    return Ruling(worst, tuple(kept), tuple(reasons))


def matches(rule: Rule, region: Region) -> bool:
    """Whether a rule speaks about a region."""
    if rule.shape != "region" and (rule.shape == "scratch") != (elongation(region) >= SCRATCH_ELONGATION):
        return False
    if rule.measure is None:
        return True
    value = _measured(rule, region)
    return value > rule.limit if rule.comparison == "over" else value < rule.limit


def elongation(region: Region) -> float:
    """How many times longer than wide an ellipse of the region's length and area is; 1 for a disc."""
    return math.pi / 4 * region.length_px**2 / region.area_px


def _measured(rule: Rule, region: Region) -> float:
    values = {
        ("length", "px"): region.length_px,
        ("length", "mm"): region.length_mm,
        ("area", "px2"): region.area_px,
        ("area", "mm2"): region.area_mm2,
        ("peak_score", ""): region.peak_score,
        ("mean_score", ""): region.mean_score,
    }
    value = values[str(rule.measure), rule.unit]
    if value is None:
        raise CalibrationError(
            f'the rule "{describe_rule(rule)}" is in millimeters, but the scale of the images is not known; '
            "calibrate with --mm-per-px, or write the rule in px"
        )
    return value


def _describe_region(region: Region) -> str:
    shape = "scratch" if elongation(region) >= SCRATCH_ELONGATION else "spot"
    x, y = region.peak
    if region.length_mm is not None and region.area_mm2 is not None:
        return f"{shape} at ({x}, {y}), {region.length_mm:.3g} mm long, {region.area_mm2:.3g} mm2"
    return f"{shape} at ({x}, {y}), {region.length_px:.3g} px long, {region.area_px:.4g} px2"
