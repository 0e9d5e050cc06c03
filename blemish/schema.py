"""The frozen dataclasses that pass between stages; plain values, validated where they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
"""uint8 (height, width, 3), RGB."""
AnomalyMap: TypeAlias = NDArray[np.float32]
"""float32 (height, width), raw units, higher = more anomalous."""
Mask: TypeAlias = NDArray[np.bool_]
"""bool (height, width)."""

GOOD = 0
DEFECTIVE = 1
"""Labels; defective is the positive class."""

Split = Literal["train", "test"]
Decision = Literal["accept", "review", "reject"]


class Progress(Protocol):
    """How long work reports itself: called with the work's name, the steps done and the steps in all."""

    def __call__(self, task: str, done: int, total: int) -> None: ...


def silent(task: str, done: int, total: int) -> None:
    """A `Progress` that says nothing."""


@dataclass(frozen=True)
class ImageItem:
    """One image file of a data set; `label` is None where the true state is not known."""

    path: Path
    split: Split
    label: int | None
    defect_type: str = "good"
    mask_path: Path | None = None
    sha256: str = ""

    @property
    def is_good(self) -> bool:
        return self.label == GOOD


@dataclass(frozen=True)
class Layer:
    """A named output of a backbone: its number of channels and its stride in input pixels.

    `offset` is how far, in input pixels, positions look right of and below the middle of their stride x stride cell;
    0 for patch grids, measured for networks with asymmetric padding.
    """

    name: str
    channels: int
    stride: int
    offset: float = 0.0


@dataclass(frozen=True)
class Backbone:
    """A pretrained network on disk and how its pixels are scaled: `(pixel - mean) / std`, pixels 0 to 255.

    The ONNX graph takes float32 `[batch, 3, height, width]` named `input_name` and gives one output per layer,
    float32 `[batch, channels, ceil(height / stride), ceil(width / stride)]`, named as the layer.
    """

    name: str
    path: Path
    layers: tuple[Layer, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    sha256: str
    licence: str
    source: str
    input_name: str = "input"

    def layer(self, name: str) -> Layer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)


@dataclass(frozen=True)
class Prediction:
    """What a graph says of one image: raw anomaly score and raw anomaly map."""

    anomaly_score: float
    anomaly_map: AnomalyMap
    reconstruction: Image | None = None

    def __post_init__(self) -> None:
        if self.anomaly_map.ndim != 2:
            raise ValueError(f"anomaly_map: expected (height, width), got shape {self.anomaly_map.shape}")


@dataclass(frozen=True)
class HeldOut:
    """Scores and maps of good images, each given by a model that did not see that image.

    `anomaly_scores` float32 (n,), `anomaly_maps` float32 (n, height, width), in the order of the fit images.
    """

    anomaly_scores: NDArray[np.float32]
    anomaly_maps: NDArray[np.float32]


@dataclass(frozen=True)
class Reduction:
    """How a graph makes its anomaly score from its anomaly map.

    `max`: the largest value; `top_mean`: the mean of the `count` largest; `features`: from features, not the map.
    """

    kind: Literal["max", "top_mean", "features"] = "max"
    count: int = 1


@dataclass(frozen=True)
class Tiling:
    """How large images are cut: squares of `tile_px` pixels of the image, each resized to the input size, a square too.

    Neighbors share `overlap_px` pixels of the input. What is learned, and what the graph sees, are tiles; a score, a
    threshold and a map are those of the whole image.
    """

    tile_px: int
    overlap_px: int

    def __post_init__(self) -> None:
        if not 64 <= self.tile_px <= 8192:
            raise ValueError(f"tiles of {self.tile_px} pixels; they have 64 to 8192 a side")


@dataclass(frozen=True)
class Fit:
    """A fitted detector: one ONNX graph (serialized), facts of the fit, held-out results if folds were asked for.

    `facts` is JSON-like and ends up in the bundle's manifest (for example `num_bank_entries`).
    """

    graph: bytes
    facts: Mapping[str, Any] = field(default_factory=dict)
    reduction: Reduction = Reduction()
    held_out: HeldOut | None = None


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


@dataclass(frozen=True)
class Judgement:
    """What a score alone decides; see `Verdict` for the meaning of the values."""

    decision: Decision
    p_value: float
    display_score: float


@dataclass(frozen=True)
class Region:
    """A connected part of the anomaly mask, in pixels (x right, y down) of the inspected image.

    `box` is x, y, width, height; `length_px` is the largest width in any direction (Feret diameter).
    The `_mm` values are None where the scale of the image is not known.
    """

    box: tuple[int, int, int, int]
    contour: tuple[tuple[int, int], ...]
    area_px: float
    centroid: tuple[float, float]
    peak: tuple[int, int]
    peak_score: float
    mean_score: float
    length_px: float
    area_mm2: float | None = None
    length_mm: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What is decided about one image, and why.

    `score` and `threshold` are raw anomaly scores; `p_value` is conformal, in (0, 1]; `display_score` is 0 to 100
    with 50 at the threshold and is never used to decide; `anomaly_map` is raw, at the graph's map size. `conditions`
    are the numbers that the drift watch takes, empty where nobody watches.
    """

    path: str
    decision: Decision
    score: float
    threshold: float
    p_value: float
    display_score: float
    regions: tuple[Region, ...]
    milliseconds: float
    bundle_id: str
    image_hw: tuple[int, int]
    anomaly_map: AnomalyMap = field(repr=False, compare=False)
    reasons: tuple[str, ...] = ()
    conditions: tuple[float, ...] = ()
    reconstruction: Image | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Picture:
    """One evaluated image with all that a gallery shows of it: `mask` is None where there is none."""

    item: ImageItem
    verdict: Verdict
    image: Image = field(repr=False)
    mask: Mask | None = field(repr=False, default=None)


@dataclass(frozen=True)
class ImageResult:
    """One row of an evaluation: the true state of an image and what was decided about it.

    `reconstruction_mse` is that of pixels from 0 to 1 at the input size, None where nothing is reconstructed.
    """

    path: str
    label: int
    defect_type: str
    score: float
    decision: Decision
    display_score: float
    p_value: float
    milliseconds: float
    has_mask: bool
    reconstruction_mse: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """A bundle judged on a labelled data set.

    `metrics` is flat and JSON-like, with the names of the command line's `--json`; `model` holds the facts of the
    bundle (detector, backbone, input size, settings), `data` those of the data set (name, path, counts, notes).
    """

    metrics: Mapping[str, Any]
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    results: tuple[ImageResult, ...]
    pictures: tuple[Picture, ...] = ()
