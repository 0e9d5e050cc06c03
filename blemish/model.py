"""A fitted and calibrated detector as Python users meet it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from blemish.bundle.bundle import Bundle
from blemish.bundle.change import save_changed
from blemish.bundle.manifest import Manifest
from blemish.bundle.read import read_bundle
from blemish.bundle.write import write_bundle
from blemish.errors import ImageError
from blemish.registry import DEFAULT_BACKBONE, DEFAULT_DETECTOR
from blemish.runtime.engines import DEFAULT_ENGINE, check_engine
from blemish.schema import Calibration, Cancel, Evaluation, Progress, TrainingRun, Verdict, never, silent

if TYPE_CHECKING:
    from blemish.datasets.index import DatasetIndex
    from blemish.inspection.inspector import Inspector
    from blemish.workflow.calibrate import ProductFacts
    from blemish.workflow.train import DataSource, Size


class Model:
    """A bundle with the verbs of the main job: inspect, evaluate, save; run by `engine` with `threads`, see `load`.

    A model can be sent to other processes, also after use: there it loads its graph anew when it is first needed.
    """

    def __init__(self, bundle: Bundle, *, engine: str = DEFAULT_ENGINE, threads: int = 0) -> None:
        self.bundle = bundle
        self.engine = engine
        self.threads = threads
        self._file: tuple[str, Manifest] | None = None

    @property
    def calibration(self) -> Calibration:
        return self.bundle.calibration

    @cached_property
    def inspector(self) -> Inspector:
        return self.make_inspector()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "inspector"}

    def make_inspector(self, *, watch_drift: bool = False, num_images: int = 1) -> Inspector:
        """A new inspector of the bundle, run by the engine of this model.

        One for several images gives each image one thread: together they use the cores best.
        """
        from blemish.inspection.inspector import Inspector
        from blemish.workflow.engine_choice import resolve_engine

        is_tiled = self.bundle.manifest.tiling is not None
        threads = 1 if num_images > 1 and not is_tiled else self.threads
        engine = resolve_engine(self.bundle, self.engine, threads=1 if is_tiled else threads)
        return Inspector(self.bundle, engine=engine, threads=threads, watch_drift=watch_drift)

    def inspect(self, image: str | Path | NDArray[Any]) -> Verdict:
        """The verdict on an image file, or on an array (gray or RGB; uint8, uint16, or float in 0 to 1)."""
        return self.inspector.inspect(image)

    def inspect_files(
        self,
        places: str | Path | Sequence[str | Path],
        *,
        output: str | Path | None = None,
        watch_drift: bool = False,
        progress: Progress = silent,
    ) -> Iterator[tuple[Path, Verdict | ImageError]]:
        """Each image file in and below the places, in order, with its verdict or why it cannot be read.

        All cores work, few images are in memory at a time. With `output`, verdicts and overlays go into that folder;
        what could not be written there is raised as OutputError when all verdicts were given.
        """
        from blemish.datasets.listing import list_images
        from blemish.line.stream import VerdictFolder, inspect_files

        named = [places] if isinstance(places, (str, Path)) else places
        folder = None if output is None else Path(output)
        paths = list_images([Path(place) for place in named]).images
        inspector = self.make_inspector(watch_drift=watch_drift, num_images=len(paths))
        if folder is None:
            yield from inspect_files(inspector, paths, num_threads=self.threads, progress=progress)
            return
        with VerdictFolder(folder, self.calibration) as kept:
            yield from inspect_files(inspector, paths, kept, num_threads=self.threads, progress=progress)
        if kept.faults:
            raise kept.faults[0]

    def evaluate(
        self,
        data: str | Path | DatasetIndex,
        *,
        report: str | Path | None = None,
        map_hw: tuple[int, int] | None = None,
        progress: Progress = silent,
    ) -> Evaluation:
        """The metrics on a labelled data set; with `report`, also a page in that folder.

        Pixel-level metrics are taken at the size of the masks, or at `map_hw`.
        """
        from blemish.workflow.evaluate import evaluate

        evaluation = evaluate(self.inspector, data, map_hw=map_hw, progress=progress)
        if report is not None:
            from blemish.reports.report import write_report
            from blemish.workflow.augmented import augmented_samples

            write_report(evaluation, Path(report), self.calibration, augmented=augmented_samples(self.bundle))
        return evaluation

    def save(self, path: str | Path) -> Path:
        """`path`, now holding the bundle; written whole or not at all.

        Raises BundleError where it is the file that the model was loaded from, and another program has changed that
        since.
        """
        place = os.path.realpath(path)
        if self._file is not None and self._file[0] == place:
            self._file = place, save_changed(self.bundle, Path(path), self._file[1])
            return Path(path)
        return write_bundle(self.bundle, Path(path))


def train(
    data: DataSource,
    *,
    detector: str = DEFAULT_DETECTOR,
    backbone: str = DEFAULT_BACKBONE,
    preset: str | None = None,
    size: Size | None = None,
    tile: int | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    calibration: Literal["cross", "split"] | None = None,
    false_reject: float = 0.05,
    confidence: float = 0.95,
    review_rate: float | None = None,
    product: ProductFacts | None = None,
    with_defects: bool = False,
    skip_unreadable: bool = False,
    run: TrainingRun | None = None,
    threads: int = 0,
    progress: Progress = silent,
    cancel: Cancel = never,
) -> Model:
    """A model of what good parts look like, from a folder of good images, a data set folder, or arrays.

    A `preset` of the detector ("fast", "balanced", "accurate") gives the size and the settings that are not given.
    `size` is the shorter side of the input in pixels (256), or (height, width). With `tile` large images are cut into
    overlapping squares of so many pixels, so that small defects are seen at full resolution. `false_reject` is the
    wanted share of good parts that are rejected, promised with `confidence` where there are enough good images; with
    `review_rate`, the share of good parts rejected or put up for review. With `with_defects` a detector that can
    (`classifier`) learns from half of the labelled defects too. `product` holds the zone, rules and scale of the
    images. `run` says where and how learned weights are trained, `threads` how many are used at most (0: one for each
    core). `cancel` is asked between steps: once it returns True, `Cancelled` is raised.
    """
    from blemish.decisions.wishes import CalibrationSettings
    from blemish.runtime.pipeline import usable_cores
    from blemish.workflow.calibrate import ProductFacts
    from blemish.workflow.train import TrainRequest
    from blemish.workflow.train import train as train_bundle

    request = TrainRequest(
        data=data,
        detector=detector,
        backbone=backbone,
        preset=preset,
        size=size,
        tile=tile,
        settings=settings or {},
        seed=seed,
        calibration=calibration,
        wishes=CalibrationSettings(false_reject=false_reject, confidence=confidence, review_rate=review_rate),
        product=product or ProductFacts(),
        with_defects=with_defects,
        skip_unreadable=skip_unreadable,
        run=run or TrainingRun(),
        threads=threads or usable_cores(),
        progress=progress,
        cancel=cancel,
    )
    return Model(train_bundle(request))


def load(path: str | Path, *, engine: str = DEFAULT_ENGINE, threads: int = 0) -> Model:
    """The model in a bundle file. Raises BundleError where the file is damaged, altered, hostile or too new.

    `engine` is what runs its graph, "auto" the fastest one that gives the same verdicts on this machine; an engine that
    fails to load is replaced by the default one with an `EngineWarning`. `threads` 0 uses all physical cores.
    """
    model = Model(read_bundle(Path(path)), engine=check_engine(engine), threads=threads)
    model._file = os.path.realpath(path), model.bundle.manifest
    return model
