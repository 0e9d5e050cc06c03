"""Bundle + good images -> the same bundle with most of its backbone in int8, if it still says the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from blemish.bundle.bundle import Bundle
from blemish.data.synthetic import make_defect
from blemish.errors import DataError, EngineError
from blemish.graph.quantized import bypass_rounding, quantizable_convolutions
from blemish.runtime.engines import available_engines
from blemish.runtime.quantize import quantize_convolutions
from blemish.runtime.session import Session
from blemish.schema import Progress, silent
from blemish.workflow.verify import EngineCheck, check_images, compare, judge_images, time_session

RANGE_IMAGES = 32
"""Images that the ranges of values are read from."""
LEAST_IMAGES = 8
MAP_BOUND = 0.5
"""Largest difference of any map value that is accepted, as a share of the distance from the usual good part to the
threshold and as far as it can matter (see `EngineCheck`)."""
SCORE_BOUND = 0.25
"""The same for scores."""
ENGINES = ("onnxruntime", "openvino")
"""Engines that the check is done with, where they are installed."""


@dataclass(frozen=True)
class EngineGain:
    """What int8 is against f32 in one engine, on the same images: differences, and milliseconds before and after."""

    check: EngineCheck
    milliseconds_f32: float


@dataclass(frozen=True)
class Quantized:
    """The bundle in int8, how many of its convolutions are, and what that is worth in each engine."""

    bundle: Bundle
    num_convolutions: int
    gains: tuple[EngineGain, ...]


def quantize(bundle: Bundle, paths: Sequence[Path], *, progress: Progress = silent) -> Quantized:
    """The bundle with convolutions in int8, calibrated and checked on the good images given.

    Memory banks, distances and all that follows stay in f32. Thresholds are kept. Raises EngineError, which says what
    would be lost, where on any of the images or of copies with painted defects the verdict changes, or where maps
    or scores change by more than `MAP_BOUND` and `SCORE_BOUND`.
    """
    if len(paths) < LEAST_IMAGES:
        raise DataError(f"{len(paths)} images to quantize with: give at least {LEAST_IMAGES} good ones")
    names = quantizable_convolutions(bundle.graph)
    if not names:
        raise EngineError("this bundle has no convolutions that could be computed in int8; f32 is kept")
    good = check_images(bundle, paths).images
    step = -(-len(good) // RANGE_IMAGES)
    progress("quantizing", 0, 2)
    graph = bypass_rounding(quantize_convolutions(bundle.graph, good[::step], names))
    progress("quantizing", 1, 2)
    rng = np.random.default_rng(0)
    images = (*good, *(make_defect(image, rng)[0] for image in good[::step]))
    gains = []
    for engine in available_engines():
        if engine not in ENGINES:
            continue
        exact, rounded = Session(bundle.graph, engine=engine), Session(graph, engine=engine)
        found, reference = judge_images(bundle, rounded, images), judge_images(bundle, exact, images)
        check = compare(engine, found, reference, bundle.calibration, time_session(rounded, images))
        _require_same(check)
        gains.append(EngineGain(check, time_session(exact, images)))
    progress("quantizing", 2, 2)
    return Quantized(_with_graph(bundle, graph, len(names), gains), len(names), tuple(gains))


def _require_same(check: EngineCheck) -> None:
    map_share = check.relative_map_difference
    if check.num_flips or map_share > MAP_BOUND or check.relative_difference > SCORE_BOUND:
        raise EngineError(
            f"f32 is kept: in int8 {check.num_flips} of {check.num_images} verdicts would change ({check.engine}), "
            f"maps by up to {map_share:.1%} and scores by up to {check.relative_difference:.1%} of the distance from "
            f"the usual good part to the threshold; allowed are none, {MAP_BOUND:.0%} and {SCORE_BOUND:.0%}"
        )


def _with_graph(bundle: Bundle, graph: bytes, num_convolutions: int, gains: Sequence[EngineGain]) -> Bundle:
    facts = {"num_convolutions": num_convolutions, "checks": [asdict(gain.check) for gain in gains]}
    manifest = bundle.manifest.model_copy(update={"facts": {**bundle.manifest.facts, "int8": facts}})
    changed = replace(bundle, manifest=manifest, graph=graph)
    return changed.with_calibration(
        replace(
            bundle.calibration,
            graph_sha256=changed.graph_sha256,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            reason="the graph was brought to int8, thresholds were kept",
        )
    )
