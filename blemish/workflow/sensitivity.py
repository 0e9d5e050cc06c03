"""Bundle + good images -> which painted defects it finds, each inspected as a part is."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np

from blemish.bundle.bundle import Bundle
from blemish.datasets.sequence import ImageFiles
from blemish.decisions.sensitivity import STRENGTHS
from blemish.errors import CalibrationError, DataError, SettingsError
from blemish.inspection.inspector import judge_prediction
from blemish.inspection.look import look, zone_of
from blemish.runtime.pipeline import map_in_order
from blemish.runtime.session import Session
from blemish.runtime.threads import at_most, usable_cores
from blemish.schema import (
    AS_THEY_ARE,
    Cancel,
    GradedKind,
    Image,
    PaintedTrial,
    Prediction,
    Progress,
    ReadSettings,
    Sensitivity,
    Verdict,
    cancellable,
    never,
    silent,
)
from blemish.synthesis.graded import SCRATCH_LENGTH
from blemish.workflow.calibrate import short_hashes
from blemish.workflow.painting import BLOCK, Canvas, PlannedDefect, make_canvas, plan_defects

NUM_PAINTED = 40 * BLOCK
"""Painted defects of a measurement: 40 of each kind and strength."""
MOST_IMAGES = 24
"""Good images that are painted on, each many times."""
MOST_SECONDS = 12.0
"""No further block of defects is painted after this time: large images and slow machines get fewer."""

_MOST_PIXELS = 24_000_000  # of all images painted on, so that looking at them first takes few seconds


@dataclass(frozen=True, kw_only=True)
class SensitivityRequest:
    """How a sensitivity is measured: on which `good` images, best ones that the bundle was not fitted on.

    `num_painted` defects, a whole number of `BLOCK`s for an even spread; fewer where `most_seconds` are over before.
    `reading` may name another page and limit than the bundle's. `threads`, `progress` and `cancel` are those of
    `FitRequest`.
    """

    good: Sequence[Path | Image]
    num_painted: int = NUM_PAINTED
    most_seconds: float = MOST_SECONDS
    seed: int = 0
    reading: ReadSettings = AS_THEY_ARE
    threads: int = field(default_factory=usable_cores)
    progress: Progress = silent
    cancel: Cancel = never

    def __post_init__(self) -> None:
        if not len(self.good):
            raise DataError("no good image to paint defects on: give at least one")
        if self.num_painted < 1 or self.threads < 1:
            raise SettingsError(f"{self.num_painted} painted defects in {self.threads} threads: give 1 or more of each")


@dataclass(frozen=True)
class Measurement:
    """A sensitivity with the images it was measured on: `planned` are its trials' defects, in their order."""

    sensitivity: Sensitivity
    canvases: tuple[Canvas, ...]
    planned: tuple[PlannedDefect, ...]

    def paint(self, number: int) -> Image:
        """The image of a trial, as it was inspected."""
        return self.planned[number].paint(self.canvases)[0]


def measure_sensitivity(bundle: Bundle, request: SensitivityRequest) -> Measurement:
    """What the bundle finds of defects painted on good images.

    Each painted image is judged as a part is: by the bundle's graph, zone, thresholds and rules. Found is what is
    rejected. Images that are rejected as they are, are not painted on: so every find is that of a painted defect.
    The same request gives the same result, unless its time was over. Raises `CalibrationError` where all images are
    rejected.
    """
    with at_most(request.threads):
        return _measure(bundle, request)


def _measure(bundle: Bundle, request: SensitivityRequest) -> Measurement:
    start = time.monotonic()
    judge = _Judge(bundle)
    report = cancellable(request.progress, request.cancel)
    canvases, num_rejected = _canvases(judge, request)
    if not canvases:
        raise CalibrationError(
            f"all {num_rejected} good images looked at are rejected as they are, painted defects would show nothing: "
            "give good images that look like those of the training, or calibrate with these"
        )

    tried: list[PlannedDefect] = []

    def plan() -> Iterator[PlannedDefect]:
        for number, planned in enumerate(plan_defects(request.num_painted, canvases, request.seed)):
            if number and number % BLOCK == 0 and time.monotonic() - start > request.most_seconds:
                return
            tried.append(planned)
            yield planned

    def try_one(planned: PlannedDefect) -> PaintedTrial:
        painted, place = planned.paint(canvases)
        verdict = judge(painted)
        return PaintedTrial(
            kind=planned.defect.kind,
            size_px=round(planned.defect.size_px, 2),
            strength=planned.defect.strength,
            place=(round(place[0], 4), round(place[1], 4)),
            score=verdict.score,
            is_found=verdict.decision == "reject",
        )

    trials = []
    for trial in map_in_order(try_one, plan(), request.threads):
        trials.append(trial)
        report("inspecting painted defects", len(trials), request.num_painted)
    heights, widths = zip(*(canvas.image.shape[:2] for canvas in canvases), strict=True)
    sensitivity = Sensitivity(
        trials=tuple(trials),
        num_images=len(canvases),
        num_rejected=num_rejected,
        image_hw=(int(np.median(heights)), int(np.median(widths))),
        image_threshold=bundle.calibration.image_threshold,
    )
    return Measurement(sensitivity, tuple(canvases), tuple(tried))


def clear_examples(measured: Measurement, num_of_each: int = 6) -> tuple[tuple[PaintedTrial, Image], ...]:
    """Some trials of clear defects of each kind, from small to large, each with a picture cut out about the defect."""
    examples = []
    trials = measured.sensitivity.trials
    for kind in get_args(GradedKind):
        numbers = [
            number for number, trial in enumerate(trials) if trial.kind == kind and trial.strength == STRENGTHS["clear"]
        ]
        numbers.sort(key=lambda number: trials[number].size_px)
        chosen = np.unique(np.linspace(0, len(numbers) - 1, min(num_of_each, len(numbers))).round().astype(np.intp))
        for place in chosen.tolist():
            number = numbers[place]
            examples.append((trials[number], _cut_out(measured.paint(number), trials[number])))
    return tuple(examples)


def _cut_out(image: Image, trial: PaintedTrial) -> Image:
    """A square of the image about a painted defect, about three times as wide as that; at least 64 pixels."""
    height, width = image.shape[:2]
    length = trial.size_px * (SCRATCH_LENGTH if trial.kind == "scratch" else 1)
    side = min(max(64, round(3 * length)), height, width)
    left = min(max(0, round(trial.place[0] * width) - side // 2), width - side)
    top = min(max(0, round(trial.place[1] * height) - side // 2), height - side)
    return image[top : top + side, left : left + side]


def num_seen(bundle: Bundle, paths: Sequence[Path]) -> int:
    """How many of the files the bundle was trained on: of defects painted on these slightly fewer are found."""
    known = set(bundle.manifest.data.image_sha256)
    return sum(digest in known for digest in short_hashes(paths, threads=1))


def _canvases(judge: _Judge, request: SensitivityRequest) -> tuple[list[Canvas], int]:
    """Canvases of evenly spread images that are not rejected as they are, and how many more are."""
    images = ImageFiles(request.good, judge.bundle.manifest.reading(request.reading))
    first = images[0]
    count = min(MOST_IMAGES, len(images), max(1, _MOST_PIXELS // (first.shape[0] * first.shape[1])))
    chosen = np.linspace(0, len(images) - 1, count).round().astype(np.intp)

    bundle = judge.bundle

    def canvas_of(image: Image) -> Canvas | None:
        verdict = judge(image)
        return None if verdict.decision == "reject" else make_canvas(image, zone_of(bundle.calibration.zone, verdict))

    with judge.remembering():
        looked = list(map_in_order(canvas_of, images.subset(chosen), request.threads))
    canvases = [canvas for canvas in looked if canvas is not None]
    return canvases, len(looked) - len(canvases)


class _Judge:
    """Verdicts on images, each by one thread; tiles that it has seen while `remembering` are not run again.

    Of a painted image few tiles are not those of the image as it was.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._session = Session(bundle.graph, threads=1)
        self._known: dict[bytes, Prediction] = {}
        self._remembers = False
        self.input_hw = self._session.input_hw

    def __call__(self, image: Image) -> Verdict:
        looked = look(self, self.bundle.manifest, image)
        return judge_prediction(
            looked.prediction,
            self.bundle.calibration,
            looked.reduction,
            image_hw=(image.shape[0], image.shape[1]),
            name="",
            bundle_id="",
            placed=looked.placed,
        )

    @contextmanager
    def remembering(self) -> Iterator[None]:
        self._remembers = self.bundle.manifest.tiling is not None
        yield
        self._remembers = False

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """As a session does."""
        return [self._predict(image) for image in images]

    def _predict(self, image: Image) -> Prediction:
        if not self._remembers and not self._known:
            return self._session.predict([image])[0]
        key = hashlib.sha256(image.tobytes()).digest()
        known = self._known.get(key)
        if known is None:
            [known] = self._session.predict([image])
            if self._remembers:
                self._known[key] = known
        return known
