"""Do all engines of this machine say the same of a bundle, and how fast is each?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from blemish.alignment.frame import straighten
from blemish.bundle.bundle import Bundle
from blemish.errors import BundleError, EngineError
from blemish.images.decode import read_image
from blemish.images.resize import resize_image
from blemish.inspection.inspector import judge_prediction
from blemish.inspection.predict import TileGrid
from blemish.runtime.engines import DEFAULT_ENGINE, engine_names
from blemish.runtime.session import Session
from blemish.schema import AS_THEY_ARE, Calibration, Image, Prediction, Progress, ReadSettings, Verdict, silent
from blemish.synthesis.painted import make_defect

MAX_IMAGES = 200
"""Images looked at where a folder holds more: every so-many-th of them."""
TOLERANCE = 0.01
"""Largest difference of scores between engines that count as equal, as a share of the calibration's display spread."""
NUM_RANDOM = 8
TIMED_RUNS = 20
TIMED_SECONDS = 1.0


@dataclass(frozen=True)
class CheckImages:
    """Images at the input size to compare engines on, and where they come from, as a sentence."""

    images: tuple[Image, ...]
    source: str


@dataclass(frozen=True)
class EngineCheck:
    """What an engine said of the check images, beside the default engine.

    Differences are the largest over all images: `map_difference` and `score_difference` raw, `relative_map_difference`
    and `relative_difference` (of scores) as shares of the distance from the usual good part to the threshold, and only
    as far as they can matter: scores below that of any good part count as the lowest of these, and scores further over
    the threshold than that distance count as that far; map values likewise. (Images that a bundle was fitted on lie at
    distance zero, where the square root makes the most of rounding.) `error` says why an engine could not run; the
    numbers mean nothing then.
    """

    engine: str
    milliseconds: float = 0.0
    map_difference: float = 0.0
    score_difference: float = 0.0
    relative_map_difference: float = 0.0
    relative_difference: float = 0.0
    num_flips: int = 0
    num_images: int = 0
    error: str = ""

    @property
    def is_equal(self) -> bool:
        """Whether no verdict changed and no score moved by more than `TOLERANCE`."""
        return not self.error and self.num_flips == 0 and self.relative_difference <= TOLERANCE


def check_images(bundle: Bundle, paths: Sequence[Path] = (), reading: ReadSettings = AS_THEY_ARE) -> CheckImages:
    """The images of the files given, or else those that the bundle keeps, or else random ones.

    To good images kept in the bundle copies with painted defects are added, so that there is something to reject.
    """
    input_hw = bundle.manifest.input_hw
    if paths:
        step = -(-len(paths) // MAX_IMAGES)
        reading = bundle.manifest.reading(reading)
        images = tuple(_at_input_size(bundle, read_image(path, reading)) for path in paths[::step])
        kind = "images" if bundle.manifest.tiling is None else "images (of each the tile in the middle)"
        return CheckImages(images, f"{len(images)} of {len(paths)} {kind} given")
    if bundle.samples:
        good = [_decode_sample(sample) for sample in bundle.samples]
        rng = np.random.default_rng(0)
        painted = [make_defect(image, rng)[0] for image in good]
        return CheckImages(
            (*good, *painted),
            f"{len(good)} good images kept in the bundle and copies of them with painted defects",
        )
    return CheckImages(
        random_images(input_hw, NUM_RANDOM),
        f"{NUM_RANDOM} random pictures, since the bundle keeps no images; they tell little of verdicts",
    )


def random_images(hw: tuple[int, int], count: int) -> tuple[Image, ...]:
    """Smooth random pictures, the same ones each time."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (8, 8, 3), np.uint8)
        images.append(np.asarray(cv2.resize(coarse, hw[::-1], interpolation=cv2.INTER_CUBIC), np.uint8))
    return tuple(images)


def verify(
    bundle: Bundle,
    checked: CheckImages,
    *,
    engines: Sequence[str] | None = None,
    threads: int = 0,
    progress: Progress = silent,
) -> tuple[EngineCheck, ...]:
    """One row for each engine, or for each one named; the default engine comes first.

    Raises EngineError where the default engine cannot run the graph.
    """
    others = [name for name in engines or engine_names() if name != DEFAULT_ENGINE]
    reference: list[tuple[Prediction, Verdict]] = []
    rows = []
    for number, engine in enumerate([DEFAULT_ENGINE, *others], start=1):
        try:
            session = Session(bundle.graph, engine=engine, threads=threads)
            found = judge_images(bundle, session, checked.images)
            milliseconds = time_session(session, checked.images)
        except EngineError as error:
            if engine == DEFAULT_ENGINE:
                raise
            rows.append(EngineCheck(engine, error=str(error)))
            continue
        reference = reference or found
        rows.append(compare(engine, found, reference, bundle.calibration, milliseconds))
        progress("comparing engines", number, len(others) + 1)
    return tuple(rows)


def compare(
    engine: str,
    found: Sequence[tuple[Prediction, Verdict]],
    reference: Sequence[tuple[Prediction, Verdict]],
    calibration: Calibration,
    milliseconds: float = 0.0,
) -> EngineCheck:
    """The row of an engine from what it and the reference said of the same images."""
    pairs = list(zip(found, reference, strict=True))
    scores = np.array([(mine.score, theirs.score) for (_, mine), (_, theirs) in pairs])
    spread = calibration.display_spread
    relevant = np.clip(scores, calibration.good_scores[0], calibration.image_threshold + spread)
    map_range = (calibration.good_map_maxima[0], calibration.pixel_threshold + spread)
    map_difference = relative_map_difference = 0.0
    for (mine, _), (theirs, _) in pairs:
        a, b = mine.anomaly_map, theirs.anomaly_map
        map_difference = max(map_difference, float(np.abs(a - b).max()))
        relevant_part = np.abs(np.clip(a, *map_range) - np.clip(b, *map_range))
        relative_map_difference = max(relative_map_difference, float(relevant_part.max()) / spread)
    return EngineCheck(
        engine,
        milliseconds,
        map_difference=map_difference,
        score_difference=float(np.abs(np.diff(scores)).max()),
        relative_map_difference=relative_map_difference,
        relative_difference=float(np.abs(np.diff(relevant)).max()) / spread,
        num_flips=sum(mine.decision != theirs.decision for (_, mine), (_, theirs) in pairs),
        num_images=len(pairs),
    )


def judge_images(bundle: Bundle, session: Session, images: Sequence[Image]) -> list[tuple[Prediction, Verdict]]:
    """What a session says of images at the input size, and the verdicts on them."""
    predictions = (session.predict([image])[0] for image in images)
    return [(prediction, judge_at_input_size(prediction, bundle)) for prediction in predictions]


def time_session(session: Session, images: Sequence[Image]) -> float:
    """Median milliseconds of one image at a time, after two runs that do not count."""
    for image in images[:2]:
        session.predict([image])
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 3 or (len(times) < TIMED_RUNS and time.perf_counter() - start < TIMED_SECONDS):
        before = time.perf_counter()
        session.predict([images[len(times) % len(images)]])
        times.append((time.perf_counter() - before) * 1000)
    return statistics.median(times)


def judge_at_input_size(prediction: Prediction, bundle: Bundle) -> Verdict:
    """The verdict on what a graph said of an image at the input size."""
    zone = bundle.calibration.zone
    # A zone drawn as a mask fits images of the size it was drawn on; here they were brought to the input size.
    drawn_hw = zone.mask.image_hw if zone is not None and zone.mask is not None else bundle.manifest.input_hw
    return judge_prediction(
        prediction,
        bundle.calibration,
        bundle.manifest.reduction,
        image_hw=drawn_hw,
        name="",
        bundle_id=bundle.bundle_id,
    )


def _at_input_size(bundle: Bundle, image: Image) -> Image:
    """What the graph is given of an image; where images are cut into tiles, the one in the middle."""
    tiling, input_hw = bundle.manifest.tiling, bundle.manifest.input_hw
    if bundle.manifest.alignment is not None:
        image = straighten(image, bundle.manifest.alignment).image
    if tiling is None:
        return resize_image(image, input_hw)
    grid = TileGrid.of((image.shape[0], image.shape[1]), tiling, input_hw)
    return grid.cut(image, len(grid) // 2)


def _decode_sample(sample: bytes) -> Image:
    pixels = cv2.imdecode(np.frombuffer(sample, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise BundleError("an image kept in the bundle is not a PNG file; train anew")
    return np.ascontiguousarray(np.asarray(pixels, np.uint8)[..., ::-1])
