"""What a detector is given and what it gives back: backbone, graph, facts, held-out results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from blemish.errors import BackboneError, SettingsError
from blemish.schema.meaning import check_choice, check_count, check_number, check_text

MAX_LAYER = 1_000_000
"""Bound of a layer's numbers."""


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

    def __post_init__(self) -> None:
        check_text("name", self.name, may_be_empty=False, error=BackboneError)
        check_count("channels", self.channels, 1, MAX_LAYER, error=BackboneError)
        check_count("stride", self.stride, 1, MAX_LAYER, error=BackboneError)
        check_number("offset", self.offset, -MAX_LAYER, MAX_LAYER, error=BackboneError)


MAX_SCALE = 1e6
"""Bound of what pixels from 0 to 255 are shifted and divided by."""


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

    def __post_init__(self) -> None:
        for name in ("name", "sha256", "licence", "source", "input_name"):
            check_text(name, getattr(self, name), may_be_empty=False, error=BackboneError)
        if not self.layers:
            raise BackboneError("layers is empty; a backbone has at least one")
        names = [layer.name for layer in self.layers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BackboneError(f"layers name {twice[0]!r} twice; each layer has a name of its own")
        for name, low in (("mean", -MAX_SCALE), ("std", 1 / MAX_SCALE)):
            values = getattr(self, name)
            if len(values) != 3:
                raise BackboneError(f"{name} holds {len(values)} numbers; it must hold three: red, green and blue")
            for value in values:
                check_number(name, value, low, MAX_SCALE, error=BackboneError)

    def layer(self, name: str) -> Layer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)


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

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("max", "top_mean", "features"), error=SettingsError)
        check_count("count", self.count, 1, error=SettingsError)


@dataclass(frozen=True)
class Tiling:
    """How large images are cut: squares of `tile_px` pixels of the image, each resized to the input size, a square too.

    Neighbors share `overlap_px` pixels of the input. What is learned, and what the graph sees, are tiles; a score, a
    threshold and a map are those of the whole image.
    """

    tile_px: int
    overlap_px: int

    def __post_init__(self) -> None:
        check_count("tile_px", self.tile_px, 64, 8192, error=SettingsError)
        check_count("overlap_px", self.overlap_px, 1, 4096, error=SettingsError)


@dataclass(frozen=True)
class Fit:
    """A fitted detector: one ONNX graph (serialized), facts of the fit, held-out results if folds were asked for.

    `facts` is JSON-like and ends up in the bundle's manifest (for example `num_bank_entries`). Where defects were
    learned from and the detector can say it, `shown` are scores and maps of these, each by a model that did not see it,
    and `unsupervised` is what the good images held out would get without them.
    """

    graph: bytes = field(repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict)
    reduction: Reduction = Reduction()
    held_out: HeldOut | None = field(default=None, repr=False)
    shown: HeldOut | None = field(default=None, repr=False)
    unsupervised: HeldOut | None = field(default=None, repr=False)
