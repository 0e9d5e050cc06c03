"""What turns raw scores and maps into decisions: promises, rules, zones, costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Polygon: TypeAlias = tuple[tuple[float, float], ...]
"""Corner points (x, y) in shares of the image's width and height, 0 to 1."""


@dataclass(frozen=True)
class ZoneMask:
    """A mask image as run lengths: numbers of pixels in reading order, the first run lies outside the zone."""

    image_hw: tuple[int, int]
    runs: tuple[int, ...]


@dataclass(frozen=True)
class Zone:
    """Where to look: inside `mask` (if any) and a polygon of `inspect` (none: everywhere), outside all of `ignore`."""

    inspect: tuple[Polygon, ...] = ()
    ignore: tuple[Polygon, ...] = ()
    mask: ZoneMask | None = None


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


@dataclass(frozen=True)
class Promise:
    """At most `rate` of good parts lie over a threshold, with `confidence`; `wanted_rate` is what was asked for.

    `num_over` of the `num_good` good scores lie over the threshold; `num_needed` good images are the fewest that can
    support the wanted rate. `num_candidates` counts the thresholds among which data chose (1: none were compared).
    """

    wanted_rate: float
    rate: float
    confidence: float
    num_good: int
    num_over: int
    num_needed: int
    num_candidates: int = 1

    @property
    def is_kept(self) -> bool:
        """Whether the wanted rate is supported by the good images."""
        return self.rate <= self.wanted_rate

    @property
    def expected_rate(self) -> float:
        """The mean share of good parts over the threshold, taken over all draws of as many good images."""
        return (self.num_over + 1) / (self.num_good + 1)


@dataclass(frozen=True)
class Costs:
    """What mistakes cost, in any one currency, and the share of defective parts that is expected."""

    escape: float
    reject: float
    defect_rate: float


@dataclass(frozen=True)
class CostCurve:
    """Expected cost per part over thresholds, with simultaneous bounds of both rates at `confidence` per point.

    `num_defective` is 0 where no defective image was at hand: then defects were assumed to score as good parts do, plus
    `assumed_shift` (raw units).
    """

    costs: Costs
    thresholds: tuple[float, ...]
    expected: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    best_threshold: float
    best_cost: float
    confidence: float
    num_defective: int
    assumed_shift: float | None


@dataclass(frozen=True)
class Condition:
    """A number taken of every image to notice drift, with its values on the good images.

    `side` "over" looks for larger values alone; "both" for any change.
    """

    name: str
    values: tuple[float, ...]
    side: Literal["over", "both"] = "both"


@dataclass(frozen=True)
class Calibration:
    """All that turns raw scores and maps of one graph into decisions.

    An image is rejected when its score is over `image_threshold` and put up for review when it is over
    `review_threshold` only. `good_scores` and `good_map_maxima` (largest map value of each good image) are sorted and
    come from images that the scoring model did not see. `mm_per_px` is the scale of the inspected image.
    `display_spread` is the raw distance below the threshold that takes the display score from 50 to 25. `created`
    (ISO 8601), `by` and `reason` say when, by whom and why it was made; a history is a tuple of these, oldest first.
    """

    graph_sha256: str
    method: Literal["split", "cross"]
    good_scores: tuple[float, ...]
    good_map_maxima: tuple[float, ...]
    image_threshold: float
    pixel_threshold: float
    promise: Promise
    regions: RegionSettings
    display_spread: float
    review_threshold: float | None = None
    review_promise: Promise | None = None
    mm_per_px: float | None = None
    rules: tuple[Rule, ...] = ()
    zone: Zone | None = None
    cost_curve: CostCurve | None = None
    conditions: tuple[Condition, ...] = ()
    created: str = ""
    by: str = ""
    reason: str = ""
