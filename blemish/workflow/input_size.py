"""How large the detector's input should be: as small as finds small painted defects as well as any larger one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from blemish.datasets.sequence import ImageFiles, ResizedImages
from blemish.detectors.base import FitFunction, FitRequest
from blemish.errors import SettingsError
from blemish.images.resize import choose_input_hw, resize_image
from blemish.runtime.pipeline import map_in_order
from blemish.runtime.session import Session
from blemish.schema import AS_THEY_ARE, Alignment, GradedKind, Image, ReadSettings
from blemish.workflow.painting import make_canvas, plan_defects

SMALLEST = 256
CANDIDATES = (SMALLEST, 384, 512)
"""Shorter sides of the input in pixels that are tried, as far as the images are as large."""
MAX_MS = 50.0
"""Most milliseconds that one image may take on this machine, decoding left out."""
NUM_FITTED, NUM_PAINTED_ON, NUM_DEFECTS = 20, 8, 64
"""Good images of a trial, good images that are painted on, and defects."""
NUM_FOLDS = 10
NUM_THRESHOLDS = 4
"""Found is what lies over the largest good score, over the second largest and so on, on average over so many: one odd
good image decides nothing."""
SIGNIFICANCE, NUM_DRAWS = 0.05, 1000
"""A size is clearly better when less than this share of so many draws of the images do not find it better."""
SMALL: Mapping[GradedKind, tuple[float, float]] = MappingProxyType(
    {"scratch": (0.003, 0.012), "spot": (0.015, 0.06), "missing": (0.015, 0.06), "texture": (0.015, 0.05)}
)
"""Sizes of small defects, as shares of the part's extent."""


@dataclass(frozen=True)
class TriedSize:
    """An input size (height, width), the share of small painted defects that it found, and its time for one image.

    `found` is a mean over thresholds (`NUM_THRESHOLDS`), None where the size takes too long.
    """

    input_hw: tuple[int, int]
    milliseconds: float
    found: float | None


@dataclass(frozen=True, eq=False)
class TrialScores:
    """Scores of good images that a trial's fit did not see, and of painted ones; the same images for each size.

    `canvas` is for each painted image the number of the good one that it was painted on.
    """

    good: NDArray[np.float64]
    painted: NDArray[np.float64]
    canvas: NDArray[np.intp]


@dataclass(frozen=True)
class ChosenSize:
    """The shorter side to use, why, and what was tried; the smallest size first."""

    size: int
    reason: str
    tried: tuple[TriedSize, ...] = ()


def choose_size(
    sources: Sequence[Path | Image],
    image_hws: Sequence[tuple[int, int]],
    fit: FitFunction,
    request: FitRequest[object],
    max_ms: float | None = None,
    reading: ReadSettings = AS_THEY_ARE,
    *,
    alignment: Alignment | None = None,
    fitting: Callable[[int], tuple[int, int]] | None = None,
) -> ChosenSize:
    """The smallest input size that finds small painted defects as well as the larger ones.

    A trial of a size is a fit of few good images, thresholds from these held out, and small defects painted on other
    good images. A larger size is taken where it finds clearly more of the same defects (see `is_better`), and where an
    image takes at most `max_ms`. Images are never enlarged beyond `SMALLEST`. `request` is the fit to come; its images
    are not used. With an `alignment` all images are the frames of their parts, of the sizes `image_hws`. `fitting`
    gives the input (height, width) of a size; None is `choose_input_hw` of the images' sizes. Raises SettingsError
    where even the smallest size takes longer than a `max_ms` that was given; None is `MAX_MS`.
    """
    if fitting is None:
        fitting = partial(choose_input_hw, list(image_hws))
    side = float(np.median([min(hw) for hw in image_hws]))
    sizes = [size for size in CANDIDATES if size == SMALLEST or size <= side]
    if len(sizes) == 1:
        return ChosenSize(SMALLEST, f"images of {side:.0f} pixels need no larger input")
    if len(sources) < NUM_FITTED + NUM_PAINTED_ON:
        return ChosenSize(SMALLEST, "too few good images to try others")
    order = np.random.default_rng(request.seed).permutation(len(sources))
    fitted, painted = np.sort(order[:NUM_FITTED]), np.sort(order[NUM_FITTED : NUM_FITTED + NUM_PAINTED_ON])
    canvases = [make_canvas(image) for image in ImageFiles([sources[place] for place in painted], reading, alignment)]
    planned = list(plan_defects(NUM_DEFECTS, canvases, request.seed, SMALL))
    images = [canvas.image for canvas in canvases] + [one.paint(canvases)[0] for one in planned]
    painted_on = np.array([one.canvas for one in planned], np.intp)
    limit = MAX_MS if max_ms is None else max_ms
    tried: dict[int, TriedSize] = {}
    scores: dict[int, TrialScores] = {}

    def is_tried(size: int) -> bool:
        """Tries a size; False where it takes too long."""
        hw = fitting(size)
        chosen = ResizedImages(
            [sources[place] for place in fitted], hw, reading, alignment=alignment, threads=request.threads
        )
        graph, held_out = _fit_trial(chosen, fit, request)
        milliseconds = _milliseconds(graph, images[0], hw)
        request.report("choosing the input size", len(tried) + 1, len(sizes))
        if milliseconds > limit:
            tried[size] = TriedSize(hw, round(milliseconds, 1), None)
            return False
        others = _scores(graph, images, hw, request.threads)
        good = np.concatenate([held_out, others[: len(canvases)]])
        scores[size] = TrialScores(good, others[len(canvases) :], painted_on)
        found = float(_shares_found(good[None], scores[size].painted)[0])
        tried[size] = TriedSize(hw, round(milliseconds, 1), round(found, 3))
        return True

    if not is_tried(SMALLEST):
        one = tried[SMALLEST]
        if max_ms is None:
            return ChosenSize(SMALLEST, f"{_told([one])}, so no larger one was tried", (one,))
        raise SettingsError(
            f"--max-ms {max_ms:g}: the smallest input, {one.input_hw[0]} x {one.input_hw[1]}, takes "
            f"{one.milliseconds:.0f} ms here; allow more, or give --size"
        )
    best = SMALLEST
    for size in reversed(sizes[1:]):  # the largest first: where it finds no more, those between need no trial
        if is_tried(size):
            if best == SMALLEST and not is_better(scores[size], scores[SMALLEST]):
                break
            if best == SMALLEST or not is_better(scores[best], scores[size]):
                best = size
    told = [tried[size] for size in sizes if size in tried]
    return ChosenSize(best, f"small painted defects found: {_told(told)}", tuple(told))


def _told(tried: Sequence[TriedSize]) -> str:
    words = []
    for one in tried:
        size = f"{one.input_hw[0]} x {one.input_hw[1]}"
        words.append(f"{size} takes {one.milliseconds:.0f} ms" if one.found is None else f"{one.found:.0%} at {size}")
    return ", ".join(words)


def is_better(larger: TrialScores, smaller: TrialScores) -> bool:
    """Whether the larger size finds clearly more of the same defects: a bootstrap over the images.

    Thresholds hang on few good images, so these are drawn anew as well as those painted on, the same for both sizes.

    >>> good, canvas = np.linspace(0, 1, 28), np.arange(64) % 8
    >>> low, high = (TrialScores(good, np.full(64, score), canvas) for score in (0.5, 2.0))
    >>> is_better(high, low), is_better(low, high), is_better(high, high)
    (True, False, False)
    """
    rng = np.random.default_rng(0)
    goods = rng.integers(len(larger.good), size=(NUM_DRAWS, len(larger.good)))
    num_canvases = int(larger.canvas.max()) + 1
    drawn = rng.integers(num_canvases, size=(NUM_DRAWS, num_canvases))
    weights = np.stack([np.bincount(row, minlength=num_canvases) for row in drawn])[:, larger.canvas]
    more, fewer = (_shares_found(side.good[goods], side.painted, weights) for side in (larger, smaller))
    return bool((more <= fewer).mean() < SIGNIFICANCE)


def _shares_found(
    good: NDArray[np.float64], painted: NDArray[np.float64], weights: NDArray[np.intp] | None = None
) -> NDArray[np.float64]:
    """For each draw of good scores (draws, n) the share of painted ones (m,) found; `weights` (draws, m) of these."""
    thresholds = np.sort(good, axis=1)[:, -NUM_THRESHOLDS:]
    found = (painted > thresholds[:, :, None]).mean(axis=1)
    shares: NDArray[np.float64] = np.average(found, axis=1, weights=weights)
    return shares


def _fit_trial(
    images: ResizedImages, fit: FitFunction, request: FitRequest[object]
) -> tuple[bytes, NDArray[np.float64]]:
    """The graph of a trial and the held-out scores of its images."""
    folds = tuple(np.arange(start, len(images), NUM_FOLDS) for start in range(NUM_FOLDS))
    made = fit(
        FitRequest(
            images=images,
            settings=request.settings,
            backbone=request.backbone,
            seed=request.seed,
            folds=folds,
            cancel=request.cancel,
            threads=request.threads,
        )
    )
    assert made.held_out is not None
    return made.graph, made.held_out.anomaly_scores.astype(np.float64)


def _scores(graph: bytes, images: Sequence[Image], hw: tuple[int, int], threads: int) -> NDArray[np.float64]:
    session = Session(graph, threads=1)

    def score(image: Image) -> float:
        return session.predict([resize_image(image, hw)])[0].anomaly_score

    return np.array(list(map_in_order(score, images, threads)))


def _milliseconds(graph: bytes, image: Image, hw: tuple[int, int]) -> float:
    """The least of some times that one image takes on all cores: what the machine can do when it is left alone."""
    session, resized = Session(graph), resize_image(image, hw)
    taken = []
    for _ in range(4):
        start = time.perf_counter()
        session.predict([resized])
        taken.append(1000 * (time.perf_counter() - start))
    return min(taken)
