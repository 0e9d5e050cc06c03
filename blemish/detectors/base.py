"""The contract of a detector: what it declares of itself and how it is fitted.

A detector is a module with two public names: `INFO`, a `DetectorInfo`, and `fit`, a `FitFunction`. Nothing is kept
between calls: `fit` returns a new `Fit`, so that nothing can be half fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from blemish.schema import Backbone, Fit, Image, Progress


@dataclass(frozen=True)
class Preset:
    """A size of the input (its shorter side in pixels) and settings that go together; `summary` says what for.

    Smaller images are not enlarged to a size over 256.
    """

    summary: str
    size: int = 256
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DetectorInfo:
    """What a detector declares: `settings` is its typed settings class, `min_images` the fewest good images it takes.

    `is_positional` says that it cannot do without the place in the image: it cannot learn from tiles.
    `is_order_free` says that the order of the fit images makes no difference; `calibration` is the form used where
    none is asked for ("cross" where fitting several times is cheap). `presets` are tried choices by name; `on_tiles`
    are the settings that differ where it learns from tiles, which may lie anywhere in an image.
    """

    name: str
    summary: str
    paper: str
    settings: type[Any]
    needs_backbone: bool = True
    needs_torch: bool = False
    reconstructs: bool = False
    is_positional: bool = False
    min_images: int = 2
    is_order_free: bool = True
    calibration: str = "cross"
    presets: Mapping[str, Preset] = field(default_factory=dict)
    on_tiles: Mapping[str, Any] = field(default_factory=dict)


class FitFunction(Protocol):
    """Fits a detector on good images, all uint8 RGB of one size (the graph's input size).

    `images` may read its files on demand: it is indexed, never changed. `folds` are disjoint index arrays; for each
    the detector gives held-out results of those images by a model fitted on the others (`Fit.held_out`, in the order
    of `images`; every image stands in exactly one fold). Without folds `Fit.held_out` is None.
    Same images, settings and seed give the same graph.
    """

    def __call__(
        self,
        images: Sequence[Image],
        settings: Any,
        *,
        backbone: Backbone | None,
        seed: int,
        folds: Sequence[NDArray[np.intp]],
        progress: Progress,
    ) -> Fit: ...


class Detector(Protocol):
    """A detector module as the registry gives it."""

    INFO: DetectorInfo
    fit: FitFunction
