"""A fitted and calibrated detector as Python users meet it."""

from __future__ import annotations

import contextlib
import html
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from blemish.bundle.bundle import Bundle
from blemish.bundle.change import save_changed
from blemish.bundle.manifest import Manifest
from blemish.bundle.read import read_bundle
from blemish.bundle.write import write_bundle
from blemish.errors import BlemishError, ImageError, SettingsError
from blemish.images.taken import Channels, is_batch, load_images
from blemish.registry import DEFAULT_BACKBONE, DEFAULT_DETECTOR
from blemish.runtime.engines import DEFAULT_ENGINE, check_engine
from blemish.schema import (
    AS_THEY_ARE,
    Align,
    Calibration,
    Cancel,
    Evaluation,
    Image,
    Progress,
    ReadSettings,
    Sensitivity,
    TrainingRun,
    Verdict,
    never,
    silent,
)
from blemish.text import one_line

if TYPE_CHECKING:
    from blemish.datasets.index import DatasetIndex
    from blemish.inspection.inspector import Inspector
    from blemish.line.events import Event
    from blemish.line.sinks import Sink
    from blemish.line.sources import Source
    from blemish.watching.watch import Watch
    from blemish.workflow.calibrate import ProductFacts
    from blemish.workflow.good_images import DataSource
    from blemish.workflow.shown import Mark
    from blemish.workflow.train import Size


class Model:
    """A bundle with the verbs of the main job: inspect, evaluate, calibrate, sensitivity, save.

    Its graph is run by `engine` with `threads`, see `load`.

    A model can be sent to other processes, also after use: there it loads its graph anew when it is first needed.

    >>> import blemish
    >>> from blemish.testing.tiny import make_tiny_product
    >>> product = make_tiny_product()
    >>> model = blemish.train(list(product.good), detector="template", size=64)
    >>> [model.inspect(image).decision for image in (product.held_out[0], product.defects[1].image)]
    ['accept', 'reject']
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        engine: str = DEFAULT_ENGINE,
        threads: int = 0,
        reading: ReadSettings = AS_THEY_ARE,
    ) -> None:
        self.bundle = bundle
        self.reading = reading
        self.engine = engine
        self.threads = threads
        self._file: tuple[str, Manifest] | None = None

    @property
    def calibration(self) -> Calibration:
        return self.bundle.calibration

    @cached_property
    def inspector(self) -> Inspector:
        return self.make_inspector()

    def __repr__(self) -> str:
        return f"Model({self._sentence()})"

    def _repr_html_(self) -> str:
        from blemish.decisions.explain import explain

        told = self.bundle.sensitivity
        lines = list(explain(self.calibration))
        if told is not None:
            from blemish.decisions.sensitivity import sensitivity_sentence

            lines.append(sensitivity_sentence(told, self.calibration.mm_per_px))
        items = "".join(f"<li>{html.escape(one_line(line))}</li>" for line in lines)
        return f"<b>{html.escape(self._sentence())}</b><ul>{items}</ul>"

    def _sentence(self) -> str:
        manifest = self.bundle.manifest
        backbone = f" on {manifest.backbone.name}" if manifest.backbone else ""
        height, width = manifest.input_hw
        return (
            f"{manifest.detector}{backbone}, {height} x {width}, {manifest.data.num_fit:,} good images of "
            f"{one_line(manifest.data.name)}, id {self.bundle.bundle_id}"
        )

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
        return Inspector(self.bundle, engine=engine, threads=threads, watch_drift=watch_drift, reading=self.reading)

    @overload
    def inspect(self, image: list[Any] | tuple[Any, ...], *, channels: Channels = "rgb") -> list[Verdict]: ...

    @overload
    def inspect(self, image: Any, *, channels: Channels = "rgb") -> Verdict: ...

    def inspect(self, image: Any, *, channels: Channels = "rgb") -> Verdict | list[Verdict]:
        """The verdict on an image: a path, the bytes of a file, an open file, an array or a PIL image.

        A list, a tuple or an array (number, height, width, channels) is a batch: then it is a list of verdicts. Arrays
        are gray, RGB or RGBA, in uint8, uint16, or float from 0 to 1. **OpenCV's color arrays are BGR: say so with
        `channels="bgr"`**, or their verdicts are silently wrong. Raises ImageError.

        >>> import numpy as np
        >>> parts = [np.full((64, 64), 100 + number, np.uint8) for number in range(8)]
        >>> model = train(parts, detector="template", size=64)
        >>> len(model.inspect(parts[:3]))
        3
        """
        if is_batch(image):
            return [
                self.inspector.inspect(
                    each, "" if isinstance(each, (str, Path)) else f"image {number}", channels=channels
                )
                for number, each in enumerate(image)
            ]
        if isinstance(image, (str, Path)) and os.path.isdir(image):
            raise ImageError(f"{image}: a folder; Model.inspect_files gives a verdict on each image in it")
        return self.inspector.inspect(image, channels=channels)

    def inspect_files(
        self,
        places: str | Path | Sequence[str | Path],
        *,
        output: str | Path | None = None,
        watch_drift: bool = False,
        progress: Progress = silent,
    ) -> Iterator[tuple[Path, Verdict | ImageError]]:
        """Each image file in and below the places, in order, with its verdict or why there is none.

        All cores work, few images are in memory at a time. With `output`, verdicts and overlays go into that folder;
        what could not be written there is raised as OutputError when all verdicts were given.
        """
        from blemish.line.events import Judged, SinkFault, Unreadable
        from blemish.line.sources import FileSource

        source = FileSource([places] if isinstance(places, (str, Path)) else places)
        faults: list[BlemishError] = []
        done = 0
        with contextlib.closing(self._run(source, output, watch_drift=watch_drift)) as events:
            for event in events:
                if isinstance(event, SinkFault):
                    faults.append(event.error)
                if isinstance(event, (Judged, Unreadable)):
                    path = event.origin.path
                    assert path is not None
                    yield path, event.verdict if isinstance(event, Judged) else event.error
                    done += 1
                    progress("inspecting", done, len(source.paths))
        if faults:
            raise faults[0]

    def inspect_source(
        self,
        source: Source,
        *,
        output: str | Path | None = None,
        sinks: Sequence[Sink] = (),
        drift_state: str | Path | None = None,
        lot: float | None = None,
    ) -> Iterator[Event]:
        """The verdicts on all that a source gives, and what else happens: see `blemish.line.stream.run`.

        With `output`, verdicts and overlays go into that folder, besides the other `sinks`. With `drift_state` the
        parts are watched for drift, and that file keeps the state between runs. With `lot`, a false discovery rate,
        each lot is judged as one.
        """
        from blemish.watching.watch import Watch

        kept = None if drift_state is None else Watch(self.calibration, Path(drift_state))
        yield from self._run(source, output, sinks, watch=kept, lot=lot, watch_drift=kept is not None)

    def _run(
        self,
        source: Source,
        output: str | Path | None,
        sinks: Sequence[Sink] = (),
        *,
        watch: Watch | None = None,
        lot: float | None = None,
        watch_drift: bool = False,
    ) -> Generator[Event, None, None]:
        from blemish.line.sinks import output_sinks
        from blemish.line.stream import images_at_once, run

        inspector = self.make_inspector(watch_drift=watch_drift, num_images=images_at_once(source))
        kept = (*sinks, *(() if output is None else output_sinks(Path(output))))
        yield from run(source, inspector, kept, watch=watch, lot=lot, num_threads=self.threads)

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
        from blemish.datasets.index import DatasetIndex, open_dataset
        from blemish.workflow.evaluate import evaluate

        index = data if isinstance(data, DatasetIndex) else open_dataset(Path(data))
        evaluation = evaluate(self.inspector, index, map_hw=map_hw, progress=progress)
        if report is not None:
            from blemish.reports.report import write_report
            from blemish.workflow.augmented import augmented_samples, part_sample
            from blemish.workflow.odd_good import odd_pictures

            write_report(
                evaluation,
                Path(report),
                self.calibration,
                augmented=augmented_samples(self.bundle),
                odd=odd_pictures(self.bundle, index),
                sensitivity=self.bundle.sensitivity,
                part=part_sample(self.bundle),
            )
        return evaluation

    def sensitivity(
        self,
        good: str | Path | Sequence[Any],
        *,
        channels: Channels = "rgb",
        page: str | Path | None = None,
        most_seconds: float | None = None,
        progress: Progress = silent,
    ) -> Sensitivity:
        """Which defects, painted on good images, the model finds; with `page`, also a page in that folder.

        `good` is a folder or data set, or images (see `inspect`, also for `channels`); best are images that the model
        was not trained on. The result is kept in the model's bundle, so that `save` and reports have it. Painted
        defects are not real ones.
        """
        from blemish.runtime.threads import budget
        from blemish.workflow.good_images import good_images
        from blemish.workflow.sensitivity import MOST_SECONDS, SensitivityRequest, clear_examples, measure_sensitivity

        reading = self.bundle.manifest.reading(self.reading)
        if isinstance(good, (str, Path)):
            sources: Sequence[Path | Image] = good_images(good, reading=reading).sources
        else:
            sources = load_images(good, reading, channels)
        seconds = MOST_SECONDS if most_seconds is None else most_seconds
        request = SensitivityRequest(
            good=sources,
            most_seconds=seconds,
            reading=self.reading,
            threads=budget(self.threads),
            progress=progress,
        )
        measured = measure_sensitivity(self.bundle, request)
        self.bundle = replace(self.bundle, sensitivity=measured.sensitivity)
        if page is not None:
            from blemish.reports.sensitivity import Example, write_sensitivity_page

            write_sensitivity_page(
                measured.sensitivity,
                Path(page),
                name=self.bundle.manifest.data.name,
                mm_per_px=self.calibration.mm_per_px,
                part=measured.canvases[0].image,
                examples=[Example(trial, picture) for trial, picture in clear_examples(measured)],
            )
        return measured.sensitivity

    def calibrate(
        self,
        good: str | Path | Sequence[str | Path] = (),
        *,
        defective: str | Path | Sequence[str | Path] = (),
        false_reject: float | None = None,
        confidence: float | None = None,
        review_rate: float | None = None,
        strict: bool = False,
        cost_escape: float | None = None,
        cost_reject: float | None = None,
        defect_rate: float | None = None,
        assumed_shift: float | None = None,
        product: ProductFacts | None = None,
        reason: str = "",
        by: str = "",
        progress: Progress = silent,
        cancel: Cancel = never,
    ) -> Model:
        """A model with new thresholds and rules; this one stays as it is. What is not given stays as it was.

        `good` are image files or folders that the detector was not trained on; without any, the scores kept in the
        bundle are used. `defective` images serve the choice by costs. The other keywords are those of `train` and of
        the command `calibrate`. The calibration until now is kept in the bundle's history.
        """
        from blemish.datasets.listing import list_images
        from blemish.decisions.in_force import change_wishes, wishes_in_force
        from blemish.runtime.threads import budget
        from blemish.workflow.calibrate import CalibrateRequest, calibrate_bundle

        def listed(places: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
            named = [places] if isinstance(places, (str, Path)) else places
            if not all(isinstance(place, (str, Path)) for place in named):
                raise SettingsError("calibrate takes image files or folders; save other images as files first")
            return list_images([Path(place) for place in named]).checked().images

        request = CalibrateRequest(
            good=listed(good),
            defective=listed(defective),
            wishes=change_wishes(
                wishes_in_force(self.calibration),
                false_reject=false_reject,
                confidence=confidence,
                review_rate=review_rate,
                strict=strict,
                cost_escape=cost_escape,
                cost_reject=cost_reject,
                defect_rate=defect_rate,
                assumed_shift=assumed_shift,
            ),
            product=product,
            reason=reason,
            by=by,
            reading=self.reading,
            threads=budget(self.threads),
            progress=progress,
            cancel=cancel,
        )
        made = Model(
            calibrate_bundle(self.bundle, request), engine=self.engine, threads=self.threads, reading=self.reading
        )
        made._file = self._file
        return made

    def teach(
        self,
        defective: str | Path | Sequence[str | Path] = (),
        *,
        good: str | Path | Sequence[str | Path] = (),
        golden: str | Path | Sequence[str | Path] = (),
        marks: Mapping[str, Mark] | None = None,
        reason: str = "",
        by: str = "",
        accept_regression: str = "",
        with_sensitivity: bool = False,
        progress: Progress = silent,
        cancel: Cancel = never,
    ) -> Model:
        """A model that knows the defects and good parts shown to it; this one stays as it is.

        `defective` are data sets with labelled defects, folders or files; `marks` point at the defects of images
        without masks. `good` are the good images of the training, unless a data set in `defective` holds them, and
        parts that were rejected and are good. `golden` images must be judged rightly in the end. Raises
        `TeachingRefusedError` (with the comparison as `regression`) where the new model would be worse, unless
        `accept_regression` says why that is right.
        """
        from blemish.runtime.threads import budget
        from blemish.workflow.teach import TeachRequest, teach

        def listed(places: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
            return tuple(Path(place) for place in ([places] if isinstance(places, (str, Path)) else places))

        request = TeachRequest(
            defective=listed(defective),
            good=listed(good),
            golden=listed(golden),
            marks=marks or {},
            reason=reason,
            by=by,
            accept_regression=accept_regression,
            with_sensitivity=with_sensitivity,
            reading=self.reading,
            threads=budget(self.threads),
            progress=progress,
            cancel=cancel,
        )
        taught = teach(self.bundle, request)
        return Model(taught.bundle, engine=self.engine, threads=self.threads, reading=self.reading)

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
    align: Align = "auto",
    max_ms: float | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    calibration: Literal["cross", "split", "blocks"] | None = None,
    group_by: str | None = None,
    trusted: Sequence[str] = (),
    false_reject: float = 0.05,
    confidence: float | None = None,
    review_rate: float | None = None,
    product: ProductFacts | None = None,
    with_defects: bool = False,
    with_sensitivity: bool = False,
    skip_unreadable: bool = False,
    channels: Channels = "rgb",
    reading: ReadSettings = AS_THEY_ARE,
    run: TrainingRun | None = None,
    threads: int = 0,
    progress: Progress = silent,
    cancel: Cancel = never,
) -> Model:
    """A model of what good parts look like, from a folder of good images, a data set folder, or images.

    Images are paths, bytes, open files, arrays or PIL images; `channels` is "bgr" for color arrays of OpenCV.
    A `preset` of the detector ("fast", "balanced", "accurate") gives the size and the settings that are not given.
    `size` is the shorter side of the input in pixels, or (height, width); left out, it is chosen so that small painted
    defects are found and one image takes at most `max_ms` (50). With `tile` large images are cut into
    overlapping squares of so many pixels, so that small defects are seen at full resolution. With `align` parts
    whose pose differs from picture to picture are found and laid straight (see `choose_alignment`). `false_reject` is
    the wanted share of good parts that are rejected: on average, or as a limit that holds with `confidence` where
    that is given; with `review_rate`, the share of good parts rejected or put up for review. Images of one part are
    held out together: they are found, or named by `group_by`, a pattern that finds the part's id in a file name.
    `trusted` names good images that look odd and are good. With `with_defects` a detector that can (`patchcore`,
    `classifier`) learns from half of the labelled defects too. With `with_sensitivity` defects are painted on the
    good images, to tell which would be missed. `product` holds the zone, rules and scale of the images, `reading`
    what image files do not say of themselves (bits, page) and how large they may be; the bundle keeps the first
    two. `run` says where and how learned weights are trained, `threads` how many are used at most (0: one for each
    core). `cancel` is asked between steps: once it returns True, `Cancelled` is raised.

    Raises DataError for images and folders that cannot be used, SettingsError for settings, CalibrationError where
    no threshold can be set, TrainingError where learned weights cannot be trained on.

    >>> from blemish.testing.tiny import make_tiny_product
    >>> train(list(make_tiny_product().good), detector="template", size=64).bundle.manifest.input_hw
    (64, 64)
    """
    import numpy as np

    from blemish.datasets.index import DatasetIndex
    from blemish.decisions.wishes import CalibrationSettings
    from blemish.runtime.threads import budget
    from blemish.workflow.calibrate import ProductFacts
    from blemish.workflow.train import TrainRequest
    from blemish.workflow.train import train as train_bundle

    if isinstance(data, np.ndarray) and data.ndim != 4:
        raise ImageError(f"one array of shape {data.shape}; give several good images, in a list")
    if not isinstance(data, (str, Path, DatasetIndex)):
        data = load_images(data, reading, channels)
    request = TrainRequest(
        data=data,
        detector=detector,
        backbone=backbone,
        preset=preset,
        size=size,
        tile=tile,
        align=align,
        max_ms=max_ms,
        settings=settings or {},
        seed=seed,
        calibration=calibration,
        group_by=group_by,
        trusted=tuple(trusted),
        wishes=CalibrationSettings(false_reject=false_reject, confidence=confidence, review_rate=review_rate),
        product=product or ProductFacts(),
        with_defects=with_defects,
        with_sensitivity=with_sensitivity,
        skip_unreadable=skip_unreadable,
        reading=reading,
        run=run or TrainingRun(),
        threads=budget(threads),
        progress=progress,
        cancel=cancel,
    )
    return Model(train_bundle(request), reading=reading)


def load(
    path: str | Path, *, engine: str = DEFAULT_ENGINE, threads: int = 0, reading: ReadSettings = AS_THEY_ARE
) -> Model:
    """The model in a bundle file. Raises BundleError where the file is damaged, altered, hostile or too new.

    `engine` is what runs its graph, "auto" the fastest one that gives the same verdicts on this machine; an engine that
    fails to load is replaced by the default one with an `EngineWarning`. `threads` 0 uses all physical cores.
    `reading` may name another page than the bundle's and another limit on pixels; bits are the bundle's.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from blemish.testing.tiny import make_tiny_product
    >>> model = train(list(make_tiny_product().good), detector="template", size=64)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = model.save(Path(folder) / "part.blemish")
    ...     load(path).bundle.manifest.detector
    'template'
    """
    model = Model(read_bundle(Path(path)), engine=check_engine(engine), threads=threads, reading=reading)
    model._file = os.path.realpath(path), model.bundle.manifest
    return model
