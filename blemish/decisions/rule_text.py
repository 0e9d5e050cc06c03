"""Rules about regions as short text, one rule a line or between commas.

reject scratches longer than 2 mm, ignore spots smaller than 0.1 mm2
review regions with peak score over 3.5
ignore scratches
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from blemish.errors import CalibrationError, SettingsError
from blemish.schema import Rule
from blemish.schema.calibration import UNITS

_SHAPES = {"region": "region", "regions": "region", "scratch": "scratch", "scratches": "scratch"}
_SHAPES |= {"spot": "spot", "spots": "spot"}
_COMPARISONS = {
    "longer than": ("length", "over"),
    "shorter than": ("length", "under"),
    "larger than": ("area", "over"),
    "smaller than": ("area", "under"),
    "with peak score over": ("peak_score", "over"),
    "with peak score under": ("peak_score", "under"),
    "with mean score over": ("mean_score", "over"),
    "with mean score under": ("mean_score", "under"),
    "over": (None, "over"),
    "under": (None, "under"),
}
_RULE = re.compile(
    rf"(reject|review|ignore) ({'|'.join(_SHAPES)})(?: ({'|'.join(_COMPARISONS)}) (\S+?) ?(mm2|mm|px2|px|))?"
)
_PLURALS = {"region": "regions", "scratch": "scratches", "spot": "spots"}


def parse_rules(text: str) -> tuple[Rule, ...]:
    """The rules in a text, in their order; the first that matches a region decides about it.

    >>> parse_rules("reject scratches longer than 2 mm")
    (Rule(action='reject', shape='scratch', measure='length', comparison='over', limit=2.0, unit='mm'),)
    """
    lines = (line.split("#")[0] for line in text.splitlines())
    parts = (" ".join(part.split()) for line in lines for part in re.split(r"[,;]", line))
    return tuple(_parse(part) for part in parts if part)


def describe_rule(rule: Rule) -> str:
    """The rule as `parse_rules` reads it.

    >>> describe_rule(Rule("ignore", "spot", "area", "under", 0.1, "mm2"))
    'ignore spots smaller than 0.1 mm2'
    """
    start = f"{rule.action} {_PLURALS[rule.shape]}"
    if rule.measure is None:
        return start
    words = next(words for words, pair in _COMPARISONS.items() if pair == (rule.measure, rule.comparison))
    return f"{start} {words} {rule.limit!r} {rule.unit}".replace(".0 ", " ").rstrip().removesuffix(".0")


def check_rules(rules: Iterable[Rule], mm_per_px: float | None) -> None:
    """Raises where a rule cannot be judged: in millimeters without a scale."""
    for rule in rules:
        if rule.unit.startswith("mm") and mm_per_px is None:
            raise CalibrationError(
                f'the rule "{describe_rule(rule)}" is in millimeters, but the scale of the images is not known; '
                "give it with --mm-per-px, or write the rule in px"
            )


def _parse(text: str) -> Rule:
    found = _RULE.fullmatch(text.replace("²", "2").lower())
    if found is None:
        raise SettingsError(
            f'cannot read the rule "{text}"; write for example "reject scratches longer than 2 mm", '
            '"ignore spots smaller than 0.1 mm2" or "review regions with peak score over 3.5"'
        )
    action, shape, words, number, unit = found.groups()
    if words is None:
        return Rule(action, _SHAPES[shape])  # type: ignore[arg-type]
    try:
        limit = float(number)
    except ValueError:
        raise SettingsError(f'cannot read the rule "{text}": "{number}" is not a number') from None
    measure, comparison = _COMPARISONS[words]
    if measure is None:
        measure = {"mm": "length", "px": "length", "mm2": "area", "px2": "area"}.get(unit)
    if measure is None or (unit or "") not in UNITS[measure] or not limit >= 0:
        raise SettingsError(
            f'cannot read the rule "{text}": lengths are in mm or px, areas in mm2 or px2, scores without a unit, '
            "and no limit is below 0"
        )
    return Rule(action, _SHAPES[shape], measure, comparison, limit, unit)  # type: ignore[arg-type]
