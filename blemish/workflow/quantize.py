"""Bundle + good images -> the same bundle with backbone and memory banks in int8, if it still says the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from blemish.bundle.bundle import Bundle
from blemish.errors import DataError, EngineError
from blemish.graph.quantized import Roundable, find_roundable, round_graph, see, with_outputs
from blemish.graph.rounding import Seen
from blemish.runtime.engines import available_engines
from blemish.runtime.onnx_runner import GraphRunner
from blemish.runtime.session import Session
from blemish.runtime.threads import at_most, budget
from blemish.schema import AS_THEY_ARE, Calibration, Image, Prediction, Progress, ReadSettings, Verdict, silent
from blemish.synthesis.painted import make_defect
from blemish.workflow.calibrate import signed
from blemish.workflow.verify import (
    EngineCheck,
    check_images,
    compare,
    judge_at_input_size,
    judge_images,
    time_session,
)

RANGE_IMAGES = 32
"""Images that the ranges and moments of values are read from."""
LEAST_IMAGES = 8
EACH_BOUND = 0.16
"""A convolution that alone would change a map value by more than this stays in f32: a third of what all together may,
of the same distance as `MAP_BOUND`."""
EACH_IMAGES = 8
"""Images that it is tried on, and copies of them with painted defects."""
MAP_BOUND = 0.5
"""Largest difference of any map value that is accepted, as a share of the distance from the usual good part to the
threshold and as far as it can matter (see `EngineCheck`)."""
SCORE_BOUND = 0.25
"""The same for scores."""
MOST_CARRIED = 20
"""Different calibrations of the history, the latest, that are looked at: each costs as many verdicts as the check."""
ENGINES = ("onnxruntime", "openvino")
"""Engines that the check is done with, where they are installed."""


@dataclass(frozen=True)
class EngineGain:
    """What int8 is against f32 in one engine, on the same images: differences, and milliseconds before and after."""

    check: EngineCheck
    milliseconds_f32: float


@dataclass(frozen=True)
class Quantized:
    """The bundle in int8, how many of its convolutions and blocks of banks are, and what each engine gains."""

    bundle: Bundle
    num_convolutions: int
    num_bank_blocks: int
    gains: tuple[EngineGain, ...]


def quantize(
    bundle: Bundle,
    paths: Sequence[Path],
    *,
    threads: int = 0,
    reading: ReadSettings = AS_THEY_ARE,
    progress: Progress = silent,
) -> Quantized:
    """The bundle with convolutions and the products with memory banks in int8, made and checked with good images.

    Features, distances and all that follows stay in f32. Thresholds are kept. Raises EngineError, which says what
    would be lost, where on any of the images or of copies with painted defects the verdict changes, or where maps
    or scores change by more than `MAP_BOUND` and `SCORE_BOUND`. `threads` 0 uses all physical cores.
    """
    with at_most(budget(threads)):
        return _quantize(bundle, paths, threads, reading, progress)


def _quantize(
    bundle: Bundle, paths: Sequence[Path], threads: int, reading: ReadSettings, progress: Progress
) -> Quantized:
    if len(paths) < LEAST_IMAGES:
        raise DataError(f"{len(paths)} images to quantize with: give at least {LEAST_IMAGES} good ones")
    roundable = find_roundable(bundle.graph)
    if not roundable.convolutions:
        raise EngineError("this bundle has no convolutions that could be computed in int8; f32 is kept")
    good = check_images(bundle, paths, reading).images
    step = -(-len(good) // RANGE_IMAGES)
    progress("watching values", 0, 1)
    seen = watch_values(bundle.graph, roundable, good[::step], threads=threads)
    progress("watching values", 1, 1)
    rng = np.random.default_rng(0)
    painted = [make_defect(image, rng)[0] for image in good[::step]]
    few = slice(None, None, -(-len(painted) // EACH_IMAGES))
    some = (*good[::step][few], *painted[few])
    roundable = sturdy_part(bundle, roundable, seen, some, threads=threads, progress=progress)
    graph = round_graph(bundle.graph, roundable, seen)
    images = (*good, *painted)
    gains = []
    same = set(range(len(bundle.history)))
    for engine in available_engines():
        if engine not in ENGINES:
            continue
        exact, rounded = (Session(one, engine=engine, threads=threads) for one in (bundle.graph, graph))
        found, reference = judge_images(bundle, rounded, images), judge_images(bundle, exact, images)
        check = compare(engine, found, reference, bundle.calibration, time_session(rounded, images))
        _require_same(check)
        gains.append(EngineGain(check, time_session(exact, images)))
        same &= _same_under_history(bundle, found, reference)
    return Quantized(
        _with_graph(bundle, graph, roundable, gains, same),
        len(roundable.convolutions),
        len(roundable.banks),
        tuple(gains),
    )


def watch_values(graph: bytes, roundable: Roundable, images: Sequence[Image], *, threads: int = 0) -> dict[str, Seen]:
    """What the roundable nodes of a graph read, by name, over some images at the input size."""
    watching, names = with_outputs(graph, roundable)
    runner = GraphRunner(watching, threads=threads)
    seen: dict[str, Seen] = {}
    for image in images:
        found = runner.run({"image": image[None]})
        for name in names:
            one = see(found[name])
            seen[name] = seen[name] + one if name in seen else one
    return seen


def sturdy_part(
    bundle: Bundle,
    roundable: Roundable,
    seen: Mapping[str, Seen],
    images: Sequence[Image],
    *,
    threads: int = 0,
    progress: Progress = silent,
) -> Roundable:
    """What is left of it without convolutions that alone would change maps of the images by more than `EACH_BOUND`."""
    exact = judge_images(bundle, Session(bundle.graph, threads=threads), images)
    kept = []
    for number, name in enumerate(roundable.convolutions, start=1):
        session = Session(round_graph(bundle.graph, Roundable((name,), ()), seen), threads=threads)
        check = compare("", judge_images(bundle, session, images), exact, bundle.calibration)
        if check.relative_map_difference <= EACH_BOUND:
            kept.append(name)
        progress("rounding each convolution", number, len(roundable.convolutions))
    return Roundable(tuple(kept), roundable.banks)


def _is_same(check: EngineCheck) -> bool:
    is_close = check.relative_map_difference <= MAP_BOUND and check.relative_difference <= SCORE_BOUND
    return is_close and check.num_flips == 0


def _require_same(check: EngineCheck) -> None:
    if not _is_same(check):
        map_share = check.relative_map_difference
        raise EngineError(
            f"f32 is kept: in int8 {check.num_flips} of {check.num_images} verdicts would change ({check.engine}), "
            f"maps by up to {map_share:.1%} and scores by up to {check.relative_difference:.1%} of the distance from "
            f"the usual good part to the threshold; allowed are none, {MAP_BOUND:.0%} and {SCORE_BOUND:.0%}"
        )


Judged = Sequence[tuple[Prediction, Verdict]]


def _same_under_history(bundle: Bundle, found: Judged, reference: Judged) -> set[int]:
    """The places in the history that keep the bounds as the calibration in force does: these can be restored."""
    same: set[int] = set()
    known: dict[Calibration, bool] = {}
    for place, entry in reversed(list(enumerate(bundle.history))):
        decides = replace(entry, created="", by="", reason="")
        if entry.graph_sha256 == bundle.graph_sha256 and (decides in known or len(known) < MOST_CARRIED):
            if decides not in known:
                known[decides] = _is_same_under(replace(bundle, calibration=entry), found, reference)
            same.update([place] if known[decides] else [])
    return same


def _is_same_under(bundle: Bundle, found: Judged, reference: Judged) -> bool:
    mine, theirs = (
        [(prediction, judge_at_input_size(prediction, bundle)) for prediction, _ in judged]
        for judged in (found, reference)
    )
    return _is_same(compare("", mine, theirs, bundle.calibration))


def _with_graph(
    bundle: Bundle, graph: bytes, roundable: Roundable, gains: Sequence[EngineGain], same: Collection[int]
) -> Bundle:
    facts = {
        "num_convolutions": len(roundable.convolutions),
        "num_bank_blocks": len(roundable.banks),
        "checks": [asdict(gain.check) for gain in gains],
        "carried": sorted({*(place + 1 for place in same), len(bundle.history) + 1}),
    }
    manifest = bundle.manifest.model_copy(update={"facts": {**bundle.manifest.facts, "int8": facts}})
    changed = replace(bundle, manifest=manifest, graph=graph)
    kept = replace(bundle.calibration, graph_sha256=changed.graph_sha256)
    return changed.with_calibration(signed(kept, reason="the graph was brought to int8, thresholds were kept"))
