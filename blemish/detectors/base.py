"""The contract of a detector: what it declares of itself, what it is given, and how it is fitted.

A detector is a module with two public names: `INFO`, a `DetectorInfo`, and `fit`, a `FitFunction`. Nothing is kept
between calls: `fit` returns a new `Fit`, so that nothing can be half fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from blemish.errors import DataError, SettingsError
from blemish.runtime.threads import usable_cores
from blemish.schema import Backbone, Cancel, Fit, Image, Mask, Progress, TrainingRun, cancellable, never, silent

Settings = TypeVar("Settings", covariant=True)


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
    `learns_from_defects` says that it uses `FitRequest.defects`; none are given to the others.
    `is_order_free` says that the order of the fit images makes no difference; `calibration` is the form used where
    none is asked for ("cross" where fitting several times is cheap), `most_folds` into how many folds it divides the
    images at most. `presets` are tried choices by name; `on_tiles` are the settings that differ where it learns from
    tiles, which may lie anywhere in an image.
    """

    name: str
    summary: str
    paper: str
    settings: type[Any]
    needs_backbone: bool = True
    needs_torch: bool = False
    reconstructs: bool = False
    is_positional: bool = False
    learns_from_defects: bool = False
    min_images: int = 2
    is_order_free: bool = True
    calibration: str = "cross"
    most_folds: int = 5
    presets: Mapping[str, Preset] = field(default_factory=dict)
    on_tiles: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Defects:
    """Images of real defects, and for each its mask, or None where it is not known which part is defective."""

    images: Sequence[Image] = ()
    masks: Sequence[Mask | None] = ()

    def __post_init__(self) -> None:
        if len(self.masks) != len(self.images):
            raise DataError(
                f"{len(self.images)} defective images but {len(self.masks)} masks: give one per image, or None for it"
            )
        for number, (image, mask) in enumerate(zip(self.images, self.masks, strict=True)):
            if mask is not None and mask.shape != image.shape[:2]:
                raise DataError(f"defective image {number} is of {image.shape[:2]} pixels, its mask of {mask.shape}")
            if mask is not None and not mask.any():
                raise DataError(f"defective image {number}: its mask is empty; give None where the place is not known")


NO_DEFECTS = Defects()


@dataclass(frozen=True, kw_only=True, eq=False)
class FitRequest(Generic[Settings]):
    """What a detector is fitted on, and how.

    `images` are good, uint8 RGB of one size, the graph's input size; they may read their files on demand, so they are
    indexed and never changed. `settings` is of the class that the detector declares. `folds` are disjoint index arrays
    that hold every image once; for each the detector gives held-out results of those images by a model fitted on the
    others. `defects` are of the same size. `progress` is told each step, `cancel` is asked between steps whether to
    stop: detectors call `report`, which does both. `threads` is the most that the fit runs at once; by default the
    cores that this process may use. `run` says how learned weights are trained.

    >>> blank = [np.zeros((32, 64, 3), np.uint8)] * 4
    >>> FitRequest(images=blank, settings=None, threads=2).input_hw
    (32, 64)
    """

    images: Sequence[Image]
    settings: Settings
    backbone: Backbone | None = None
    seed: int = 0
    folds: Sequence[NDArray[np.intp]] = ()
    defects: Defects = NO_DEFECTS
    progress: Progress = silent
    cancel: Cancel = never
    threads: int = field(default_factory=usable_cores)
    run: TrainingRun = field(default_factory=TrainingRun)

    def __post_init__(self) -> None:
        if not len(self.images):
            raise DataError("no images to fit on: give at least one")
        if self.threads < 1:
            raise SettingsError(f"threads is {self.threads}: give 1 or more")
        if len(self.folds):
            indices = np.sort(np.concatenate(self.folds))
            if not np.array_equal(indices, np.arange(len(self.images))):
                raise SettingsError(f"folds of {len(self.images)} images: each image belongs to exactly one fold")
        for number, image in enumerate(self.defects.images):
            if image.shape[:2] != self.input_hw:
                raise DataError(
                    f"defective image {number} is of {image.shape[:2]} pixels, the good ones of {self.input_hw}: "
                    "bring all to one size"
                )

    @property
    def input_hw(self) -> tuple[int, int]:
        """Height and width of the images, which are those of the graph's input."""
        return self.images[0].shape[:2]

    def report(self, task: str, done: int, total: int) -> None:
        """Tells the progress of one step. Raises `Cancelled` where the fit is to stop."""
        cancellable(self.progress, self.cancel)(task, done, total)


class FitFunction(Protocol):
    """Fits a detector as the request says; same images, settings and seed give the same graph.

    `Fit.held_out` is in the order of the images, None without folds.
    """

    def __call__(self, request: FitRequest[Any], /) -> Fit: ...


class Detector(Protocol):
    """A detector module as the registry gives it."""

    INFO: DetectorInfo
    fit: FitFunction
