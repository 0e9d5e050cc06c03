"""What turns raw scores and maps into decisions: promises, rules, zones, costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from blemish.errors import CalibrationError, SettingsError
from blemish.schema.images import MAX_PIXELS
from blemish.schema.meaning import (
    Many,
    check_choice,
    check_count,
    check_number,
    check_numbers,
    check_sorted,
    check_text,
    shown,
)

MAX_CORNERS = 2_000
"""Corners of all polygons of a zone; a finer outline is drawn as a mask."""
MAX_RULES = 1_000
MAX_REACH_PX = 63
"""The largest distance in the map over which regions are opened, closed, joined and bounded; the work grows with it."""

Polygon: TypeAlias = Many[tuple[float, float]]
"""Corner points (x, y) in shares of the image's width and height, 0 to 1."""


@dataclass(frozen=True)
class ZoneMask:
    """A mask image as run lengths: numbers of pixels in reading order, the first run lies outside the zone."""

    image_hw: tuple[int, int]
    runs: Many[int] = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.image_hw) != 2:
            raise CalibrationError(f"image_hw holds {len(self.image_hw)} numbers; it must hold height and width")
        for side in self.image_hw:
            check_count("image_hw", side, 1, MAX_PIXELS)
        num_pixels = self.image_hw[0] * self.image_hw[1]
        if num_pixels > MAX_PIXELS:
            raise CalibrationError(f"image_hw makes {num_pixels:,} pixels; at most {MAX_PIXELS:,} are allowed")
        runs = check_numbers("runs", self.runs, num_least=1)
        if (runs < 0).any() or runs.sum() != num_pixels:
            raise CalibrationError(
                f"runs give {runs.sum():.0f} pixels, but the image has {num_pixels:,}; no run may be below 0"
            )
        if not runs[1::2].any():
            raise CalibrationError("the zone mask is black everywhere; paint white where to look")


@dataclass(frozen=True)
class Zone:
    """Where to look: inside `mask` (if any) and a polygon of `inspect` (none: everywhere), outside all of `ignore`."""

    inspect: Many[Polygon] = ()
    ignore: Many[Polygon] = ()
    mask: ZoneMask | None = None

    def __post_init__(self) -> None:
        polygons = (*self.inspect, *self.ignore)
        for polygon in polygons:
            if len(polygon) < 3:
                raise CalibrationError(f"a polygon has at least 3 corners; found {len(polygon)}")
        if sum(map(len, polygons)) > MAX_CORNERS:
            raise CalibrationError(
                f"the polygons have {sum(map(len, polygons)):,} corners, at most {MAX_CORNERS:,} are allowed; "
                "draw the zone as a mask image"
            )
        for corner in (corner for polygon in polygons for corner in polygon):
            if len(corner) != 2:
                raise CalibrationError(f"a corner is an x and a y; found {len(corner)} numbers")
            x, y = corner
            if not (0 <= x <= 1 and 0 <= y <= 1):
                raise CalibrationError(
                    f"the corner ({x:g}, {y:g}) lies outside the image; "
                    "corners are shares of its width and height, from 0 to 1"
                )


UNITS: dict[str | None, tuple[str, ...]] = {
    "length": ("mm", "px"),
    "area": ("mm2", "px2"),
    "peak_score": ("",),
    "mean_score": ("",),
    None: ("",),
}
"""The units of each measure that a rule can be about."""
MAX_LIMIT = 1e12
"""The largest limit of a rule."""


@dataclass(frozen=True)
class Rule:
    """What to do with regions of a kind: of `shape` and, where `measure` is given, over or under a limit.

    A scratch is at least three times as long as wide, a spot is not, "region" is either. `unit` is "mm" or "px" for
    lengths, "mm2" or "px2" for areas and "" for scores.
    """

    action: Literal["reject", "review", "ignore"]
    shape: Literal["region", "scratch", "spot"] = "region"
    measure: Literal["area", "length", "peak_score", "mean_score"] | None = None
    comparison: Literal["over", "under"] = "over"
    limit: float = 0.0
    unit: Literal["mm", "mm2", "px", "px2", ""] = ""

    def __post_init__(self) -> None:
        check_choice("action", self.action, ("reject", "review", "ignore"), error=SettingsError)
        check_choice("shape", self.shape, ("region", "scratch", "spot"), error=SettingsError)
        check_choice("measure", self.measure, UNITS, error=SettingsError)
        check_choice("comparison", self.comparison, ("over", "under"), error=SettingsError)
        check_number("limit", self.limit, 0.0, MAX_LIMIT, error=SettingsError)
        if self.unit not in UNITS[self.measure]:
            raise SettingsError(
                f"a rule about {self.measure or 'no measure'} cannot be in {self.unit or 'no unit'!r}; "
                f"use {' or '.join(UNITS[self.measure]) or 'no unit'}"
            )
        if self.measure is None and self.limit:
            raise SettingsError(f"a rule with the limit {self.limit:g} must say of what: area, length or a score")


@dataclass(frozen=True)
class RegionSettings:
    """How the anomaly mask becomes regions; all sizes in map pixels.

    A region needs a map value over the pixel threshold. It reaches as far as the map stays over `grow_threshold`
    (hysteresis) and over half the height between that and the largest value within `flank_px`: where a map is blurred,
    half height is where the edge of a defect lies. `opening_px` and `closing_px` are diameters, 0 for none; parts up
    to `join_px` apart are one region; regions under `min_area_px2` are dropped, but never the one that holds the
    largest value of the map.
    """

    grow_threshold: float
    flank_px: int = 32
    opening_px: int = 0
    closing_px: int = 3
    join_px: int = 5
    min_area_px2: int = 0

    def __post_init__(self) -> None:
        check_number("grow_threshold", self.grow_threshold)
        for name in ("flank_px", "opening_px", "closing_px", "join_px"):
            check_count(name, getattr(self, name), 0, MAX_REACH_PX)
        check_count("min_area_px2", self.min_area_px2)


@dataclass(frozen=True)
class Promise:
    """How many good parts lie over a threshold: on average at most `average_rate`; at most `limit` with `confidence`.

    `wanted_rate` is what was asked for, `reading` which of the two was to meet it. `num_over` of the `num_good` good
    images lie over the threshold. Images that show nearly the same part count as one part together: there are
    `num_parts`, and `parts_over` of them lie over the threshold, where an image counts as its share of its part.
    `num_needed` parts are the fewest that can support the wanted rate. `num_candidates` counts the thresholds among
    which data chose (1: none were compared); of a chosen threshold the average is an estimate and not a bound.
    """

    wanted_rate: float
    limit: float
    confidence: float
    num_good: int
    num_over: int
    num_parts: int
    parts_over: float
    num_needed: int
    reading: Literal["average", "limit"] = "average"
    num_candidates: int = 1

    def __post_init__(self) -> None:
        check_number("wanted_rate", self.wanted_rate, 0, 1, is_open=True)
        check_number("limit", self.limit, 0, 1)
        check_number("confidence", self.confidence, 0, 1, is_open=True)
        check_count("num_good", self.num_good, 1)
        check_count("num_over", self.num_over, 0, self.num_good)
        check_count("num_parts", self.num_parts, 1, self.num_good)
        check_number("parts_over", self.parts_over, 0, self.num_parts)
        check_count("num_needed", self.num_needed, 1)
        check_choice("reading", self.reading, ("average", "limit"))
        check_count("num_candidates", self.num_candidates, 1)

    @property
    def average_rate(self) -> float:
        """The mean share of good parts over the threshold, over all draws of as many good parts, is at most this."""
        return (self.parts_over + 1) / (self.num_parts + 1)

    @property
    def rate(self) -> float:
        """The rate that is promised: the average, or the limit where that was to meet the wanted rate."""
        return self.average_rate if self.reading == "average" else self.limit

    @property
    def is_kept(self) -> bool:
        """Whether there are enough good parts for the wanted rate."""
        return self.num_parts >= self.num_needed


MAX_COST = 1e15
"""The largest cost of one mistake, in any currency."""


@dataclass(frozen=True)
class Costs:
    """What mistakes cost, in any one currency, and the share of defective parts that is expected."""

    escape: float
    reject: float
    defect_rate: float

    def __post_init__(self) -> None:
        for name in ("escape", "reject"):
            check_number(f"the cost of {name}", getattr(self, name), 0, MAX_COST, is_open=True, error=SettingsError)
        check_number("defect_rate", self.defect_rate, 0, 1, is_open=True, error=SettingsError)


@dataclass(frozen=True)
class CostCurve:
    """Expected cost per part over thresholds, with simultaneous bounds of both rates at `confidence` per point.

    `num_defective` is 0 where no defective image was at hand: then defects were assumed to score as good parts do, plus
    `assumed_shift` (raw units).
    """

    costs: Costs
    thresholds: Many[float] = field(repr=False)
    expected: Many[float] = field(repr=False)
    low: Many[float] = field(repr=False)
    high: Many[float] = field(repr=False)
    best_threshold: float
    best_cost: float
    confidence: float
    num_defective: int
    assumed_shift: float | None

    def __post_init__(self) -> None:
        check_sorted("thresholds", self.thresholds, is_strict=True)
        for name in ("expected", "low", "high"):
            values = check_numbers(name, getattr(self, name))
            if len(values) != len(self.thresholds) or (values < 0).any():
                raise CalibrationError(f"{name} must hold a cost from 0 for each of {len(self.thresholds)} thresholds")
        if self.best_threshold not in self.thresholds:
            raise CalibrationError(f"best_threshold is {shown(self.best_threshold)}; it must be one of the thresholds")
        check_number("best_cost", self.best_cost, 0)
        check_number("confidence", self.confidence, 0, 1, is_open=True)
        check_count("num_defective", self.num_defective)
        if (self.assumed_shift is None) != (self.num_defective > 0):
            raise CalibrationError("assumed_shift must be given where there was no defective image, and nowhere else")
        if self.assumed_shift is not None:
            check_number("assumed_shift", self.assumed_shift, 0)


@dataclass(frozen=True)
class Condition:
    """A number taken of every image to notice drift, with its values on the good images.

    `side` "over" looks for larger values alone; "both" for any change.
    """

    name: str
    values: Many[float]
    side: Literal["over", "both"] = "both"

    def __post_init__(self) -> None:
        check_text("name", self.name, may_be_empty=False)
        check_sorted("values", self.values)
        check_choice("side", self.side, ("over", "both"))


MM_PER_PX = (1e-9, 1e6)
"""The finest and the coarsest scale of an image."""


@dataclass(frozen=True)
class Calibration:
    """All that turns raw scores and maps of one graph into decisions.

    An image is rejected when its score is over `image_threshold` and put up for review when it is over
    `review_threshold` only. `good_scores` and `good_map_maxima` (largest map value of each good image) are sorted and
    come from images that the scoring model did not see. Where several images show nearly the same part, `good_shares`
    holds for each good score 1 divided by their number; it is empty where each image is a part. `mm_per_px` is the
    scale of the inspected image. `display_spread` is the raw distance below the threshold that takes the display score
    from 50 to 25. `created` (ISO 8601), `by` and `reason` say when, by whom and why it was made; a history is a tuple
    of these, oldest first.

    Scores, thresholds and map values are raw, in the units of the graph. Raises CalibrationError for values that mean
    nothing.

    >>> import blemish
    >>> from blemish.testing.tiny import make_tiny_product
    >>> model = blemish.train(list(make_tiny_product().good), detector="template", size=64)
    >>> model.calibration.promise.num_good, model.calibration.promise.wanted_rate
    (16, 0.05)
    """

    graph_sha256: str
    method: Literal["split", "cross"]
    good_scores: Many[float] = field(repr=False)
    good_map_maxima: Many[float] = field(repr=False)
    image_threshold: float
    pixel_threshold: float
    promise: Promise
    regions: RegionSettings
    display_spread: float
    review_threshold: float | None = None
    review_promise: Promise | None = None
    mm_per_px: float | None = None
    rules: Many[Rule] = ()
    zone: Zone | None = None
    cost_curve: CostCurve | None = field(default=None, repr=False)
    conditions: Many[Condition] = field(default=(), repr=False)
    good_shares: Many[float] = field(default=(), repr=False)
    created: str = ""
    by: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        check_text("graph_sha256", self.graph_sha256, may_be_empty=False)
        check_choice("method", self.method, ("split", "cross"))
        check_sorted("good_scores", self.good_scores, num_least=2)
        check_sorted("good_map_maxima", self.good_map_maxima, num_least=2)
        if len(self.good_scores) != len(self.good_map_maxima):
            raise CalibrationError(
                f"{len(self.good_scores)} good scores but {len(self.good_map_maxima)} map maxima; "
                "there must be one of each per image"
            )
        if self.good_shares and len(self.good_shares) != len(self.good_scores):
            raise CalibrationError(
                f"{len(self.good_scores)} good scores but {len(self.good_shares)} good shares; "
                "there must be one of each per image, or no shares"
            )
        if self.good_shares and not all(0 < share <= 1 for share in check_numbers("good_shares", self.good_shares)):
            raise CalibrationError("good_shares must be over 0 and at most 1")
        for promise in (self.promise, self.review_promise):
            if promise is not None and promise.num_good != len(self.good_scores):
                raise CalibrationError(
                    f"the promise is about {promise.num_good} good images, but there are {len(self.good_scores)} scores"
                )
        check_number("image_threshold", self.image_threshold)
        check_number("pixel_threshold", self.pixel_threshold)
        check_number("display_spread", self.display_spread, 0, is_open=True)
        if self.review_threshold is None and self.review_promise is not None:
            raise CalibrationError("review_promise is about a review_threshold, but none is given")
        if self.review_threshold is not None:
            check_number("review_threshold", self.review_threshold, high=self.image_threshold)
        if self.mm_per_px is not None:
            check_number("mm_per_px", self.mm_per_px, *MM_PER_PX)
        if len(self.rules) > MAX_RULES:
            raise CalibrationError(f"there are {len(self.rules):,} rules; at most {MAX_RULES:,} are allowed")
        if self.mm_per_px is None and any(rule.unit.startswith("mm") for rule in self.rules):
            raise CalibrationError("a rule is in millimeters, but mm_per_px, the scale of the images, is not given")
        names = [condition.name for condition in self.conditions]
        if len(set(names)) < len(names):
            raise CalibrationError("conditions must each have a name of their own")
        for name in ("created", "by", "reason"):
            check_text(name, getattr(self, name))
