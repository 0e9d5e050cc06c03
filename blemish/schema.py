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

    `offset` is how far, in input pixels, the middle of a position's receptive field lies right of and below the
    middle of its stride x stride cell: (stride - 1) / 2 for TensorFlow's SAME padding, 0 for patch grids.
    """

    name: str
    channels: int
    stride: int
    offset: float = 0.0


@dataclass(frozen=True)
class Backbone:
    """A pretrained network on disk and how its pixels are scaled: `(pixel - mean) / std`, pixels 0 to 255.

    The ONNX graph takes float32 `[batch, 3, height, width]` named `input` and gives one output per layer,
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
class Fit:
    """A fitted detector: one ONNX graph (serialized), facts of the fit, held-out results if folds were asked for.

    `facts` is JSON-like and ends up in the bundle's manifest (for example `num_bank_entries`).
    """

    graph: bytes
    facts: Mapping[str, Any] = field(default_factory=dict)
    reduction: Reduction = Reduction()
    held_out: HeldOut | None = None


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
    with 50 at the threshold and is never used to decide; `anomaly_map` is raw, at the graph's map size.
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
    """One row of an evaluation: the true state of an image and what was decided about it."""

    path: str
    label: int
    defect_type: str
    score: float
    decision: Decision
    display_score: float
    p_value: float
    milliseconds: float
    has_mask: bool


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
