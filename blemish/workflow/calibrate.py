"""Good images that a graph did not see -> the bundle under a new calibration; the graph is never touched."""

from __future__ import annotations

import dataclasses
import getpass
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from blemish.alignment.frame import locate
from blemish.bundle.bundle import Bundle
from blemish.datasets.index import hash_files
from blemish.datasets.sequence import ImageFiles, ResizedImages, sizes_of
from blemish.decisions.history import restore_calibration
from blemish.decisions.in_force import wishes_in_force
from blemish.decisions.reduction import reduce_map
from blemish.decisions.rule_text import check_rules, parse_rules
from blemish.decisions.sensitivity import resettled
from blemish.decisions.thresholds import calibrate, recalibrate
from blemish.decisions.wishes import CalibrationSettings
from blemish.decisions.zones import check_zone_of_all, zone_mask
from blemish.errors import CalibrationError, SettingsError
from blemish.inspection.predict import predict_image
from blemish.runtime.pipeline import map_in_order
from blemish.runtime.session import Session
from blemish.runtime.threads import at_most, usable_cores
from blemish.schema import (
    AS_THEY_ARE,
    Alignment,
    Calibration,
    Cancel,
    HeldOut,
    Image,
    Progress,
    ReadSettings,
    Reduction,
    Rule,
    Sensitivity,
    Tiling,
    Zone,
    cancellable,
    never,
    silent,
)
from blemish.schema.calibration import MM_PER_PX
from blemish.schema.meaning import check_number
from blemish.watching.conditions import good_conditions, measure_picture
from blemish.workflow.drawn_zones import drawn_zone
from blemish.workflow.laying_straight import zone_in_frame

HASH_DIGITS = 16
"""Hex digits of an image file's SHA-256 that a bundle keeps."""


@dataclass(frozen=True)
class ProductFacts:
    """What is known of a product beside its images: where to look, what to tolerate, and the scale of its images.

    `zone_on` is the picture that the zone was drawn on; needed where parts are laid straight, and only there.
    """

    zone: Zone | None = None
    rules: tuple[Rule, ...] = ()
    mm_per_px: float | None = None
    zone_on: Path | None = None

    def __post_init__(self) -> None:
        if self.mm_per_px is not None:
            check_number("mm_per_px", self.mm_per_px, *MM_PER_PX, error=SettingsError)


def check_zone_size(zone: Zone | None, sources: Sequence[Path | Image], names: Sequence[str] = ()) -> None:
    """Raises CalibrationError where a zone's mask is not as large as each of the images, which may be files."""
    if zone is not None and zone.mask is not None:
        check_zone_of_all(zone, sizes_of(sources), names or [str(source) for source in sources])


def product_facts(
    zone: Path | None,
    rules: Sequence[str] | None,
    mm_per_px: float | None,
    present: Calibration | None = None,
    *,
    inspect: Sequence[str] | None = None,
    ignore: Sequence[str] | None = None,
    zone_on: Path | None = None,
) -> ProductFacts:
    """The facts given, each that is not given as it is at present; rules and polygons as text (see `parse_rules`).

    `zone` is a mask image or an annotation file; a scale that was measured in it holds where no other is given.
    """
    kept = ProductFacts(present.zone, present.rules, present.mm_per_px) if present else ProductFacts()
    drawn = drawn_zone(zone, inspect, ignore, zone_on)
    if mm_per_px is None and drawn is not None:
        mm_per_px = drawn.mm_per_px
    return ProductFacts(
        zone=kept.zone if drawn is None else drawn.zone,
        rules=kept.rules if rules is None else parse_rules("\n".join(rules)),
        mm_per_px=kept.mm_per_px if mm_per_px is None else mm_per_px,
        zone_on=zone_on or (None if drawn is None else drawn.image),
    )


@dataclass(frozen=True)
class GoodScores:
    """What a calibration takes of each good image: its score and the largest value of its map, inside the zone."""

    scores: NDArray[np.float32]
    map_maxima: NDArray[np.float32]


def scores_inside(held_out: HeldOut, reduction: Reduction, zone: Zone | None) -> GoodScores:
    """Scores and largest map values of held-out results; where there is a zone, inside it."""
    maps = held_out.anomaly_maps
    if zone is None:
        return GoodScores(held_out.anomaly_scores, maps.max(axis=(1, 2)))
    inside = zone_mask(zone, (maps.shape[1], maps.shape[2]))
    scores = [reduce_map(anomaly_map, reduction, inside) for anomaly_map in maps]
    return GoodScores(np.array(scores, np.float32), maps[:, inside].max(axis=1))


def score_images(
    graph: bytes,
    images: Collection[Image],
    reduction: Reduction,
    *,
    tiling: Tiling | None,
    zone: Zone | None,
    threads: int,
    progress: Progress = silent,
    task: str = "scoring held-out images",
) -> GoodScores:
    """Scores and largest map values of images that the graph was not fitted on; a few are in memory at a time.

    `images` are whole with `tiling`, else at the input size. Each thread runs an image, or a tile of the same one.
    """
    session = Session(graph, threads=1)

    def score(image: Image) -> GoodScores:
        prediction, kept = predict_image(session, image, reduction, tiling, num_threads=threads)
        one = HeldOut(np.array([prediction.anomaly_score], np.float32), prediction.anomaly_map[None])
        return scores_inside(one, kept, zone)

    scores, maxima = [], []
    outcomes = map_in_order(score, images, threads) if tiling is None else map(score, images)
    for number, found in enumerate(outcomes, start=1):
        scores.append(found.scores[0])
        maxima.append(found.map_maxima[0])
        progress(task, number, len(images))
    return GoodScores(np.array(scores, np.float32), np.array(maxima, np.float32))


def calibrate_held_out(
    found: GoodScores,
    images: Sequence[Image],
    *,
    graph_sha256: str,
    method: Literal["split", "cross"],
    shares: NDArray[np.float64] | None = None,
    settings: CalibrationSettings | None,
    product: ProductFacts,
    defective_scores: Sequence[float] | None = None,
) -> Calibration:
    """The calibration from scores of good images by models that did not see them.

    `images` are all good images at the input size, also those fitted on: what good pictures look like.
    """
    made = calibrate(
        found.scores,
        found.map_maxima,
        graph_sha256=graph_sha256,
        method=method,
        shares=None if shares is None or (shares == 1).all() else shares,
        settings=settings,
        mm_per_px=product.mm_per_px,
        rules=product.rules,
        zone=product.zone,
        conditions=good_conditions(found.scores, map(measure_picture, images)),
        defective_scores=defective_scores,
    )
    return signed(made, reason=f"the first, from {len(found.scores)} good images of the training")


@dataclass(frozen=True, kw_only=True)
class CalibrateRequest:
    """New thresholds and rules for a bundle: from what, as what, by whom and why.

    With `good` images the thresholds come from these, which must be new to the detector. Without, from the scores
    kept in the bundle; a zone cannot be changed then. `wishes` None keeps rates, confidence and costs as they are,
    `product` None zone, rules and scale. `defective` images serve the choice by costs alone. `reading` may name another
    page and limit than the bundle's. `threads`, `progress` and `cancel` are those of `FitRequest`.
    """

    good: Sequence[Path] = ()
    defective: Sequence[Path] = ()
    wishes: CalibrationSettings | None = None
    product: ProductFacts | None = None
    reason: str = ""
    by: str = ""
    reading: ReadSettings = AS_THEY_ARE
    threads: int = field(default_factory=usable_cores)
    progress: Progress = silent
    cancel: Cancel = never

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise SettingsError(f"threads is {self.threads}: give 1 or more")


def calibrate_bundle(bundle: Bundle, request: CalibrateRequest) -> Bundle:
    """The bundle under new thresholds and rules; the calibration in force until now goes into its history."""
    with at_most(request.threads):
        return _calibrate(bundle, request)


def _calibrate(bundle: Bundle, request: CalibrateRequest) -> Bundle:
    present, manifest = bundle.calibration, bundle.manifest
    product = request.product or ProductFacts(present.zone, present.rules, present.mm_per_px)
    reading = bundle.manifest.reading(request.reading)
    in_force = wishes_in_force(present)
    wishes = request.wishes or in_force
    _check_defective(present, wishes, request)

    def at_input_size(paths: Sequence[Path]) -> ResizedImages:
        return ResizedImages(
            tuple(paths), manifest.input_hw, reading, alignment=manifest.alignment, threads=request.threads
        )

    def score(paths: Sequence[Path]) -> GoodScores:
        images = ImageFiles(paths, reading) if manifest.tiling else at_input_size(paths)
        return score_images(
            bundle.graph,
            images,
            manifest.reduction,
            tiling=manifest.tiling,
            zone=product.zone,
            threads=request.threads,
            progress=cancellable(request.progress, request.cancel),
            task="scoring images",
        )

    if manifest.alignment is None:
        check_zone_size(product.zone, (*request.good, *request.defective))
    elif product.zone is not None and product.zone != present.zone:
        zone = zone_in_frame(product.zone, product.zone_on, manifest.alignment, reading)
        product = dataclasses.replace(product, zone=zone)
    if request.good:
        _check_new(bundle, request.good, request.threads)
        request = _with_found_parts(request, manifest.alignment, reading)
    elif product.zone != present.zone:
        raise CalibrationError(
            "a new zone changes the scores of the good images: give good images that were not used in the fit, "
            "or train with the zone"
        )
    defective_scores = [float(value) for value in score(request.defective).scores] if request.defective else None
    kept = dataclasses.replace(present, rules=product.rules, mm_per_px=product.mm_per_px)
    check_rules(kept.rules, kept.mm_per_px)
    if request.good:
        new = calibrate_held_out(
            score(request.good),
            at_input_size(request.good),
            graph_sha256=bundle.graph_sha256,
            method="split",
            settings=wishes,
            product=product,
            defective_scores=defective_scores,
        )
        regions = dataclasses.replace(present.regions, grow_threshold=new.regions.grow_threshold)
        new = dataclasses.replace(new, regions=regions)
        reason = f"{len(request.good)} new good images"
    elif wishes != in_force or defective_scores:
        new = recalibrate(kept, wishes, defective_scores=defective_scores)
        reason = "other wishes for the same good images"
    else:
        new, reason = kept, "the thresholds as they were"
    made = signed(new, by=request.by, reason=request.reason or reason)
    return dataclasses.replace(bundle.with_calibration(made), sensitivity=_sensitivity_under(bundle, made))


def _with_found_parts(
    request: CalibrateRequest, alignment: Alignment | None, reading: ReadSettings
) -> CalibrateRequest:
    """The request without good images that show no part: they are put up for review, whatever the thresholds."""
    if alignment is None:
        return request
    images = ImageFiles(request.good, reading)
    found = map_in_order(lambda image: not locate(image, alignment).fault, images, request.threads)
    good = tuple(path for path, is_found in zip(request.good, found, strict=True) if is_found)
    if 2 * len(good) <= len(request.good):
        raise CalibrationError(
            f"the part is found on {len(good)} of {len(request.good)} good images only: give images like those of the "
            "training, or train anew"
        )
    return dataclasses.replace(request, good=good)


def _check_defective(present: Calibration, wishes: CalibrationSettings, request: CalibrateRequest) -> None:
    """The scores of defective images are not kept, so costs that were weighed with them need the images again."""
    if request.defective and wishes.costs is None:
        raise SettingsError("defective images serve the choice by costs: say what an escape costs, or leave them out")
    curve = present.cost_curve
    is_weighed_anew = bool(request.good) or wishes != wishes_in_force(present)
    is_kept = curve is not None and curve.num_defective > 0 and wishes.costs == curve.costs
    if is_kept and is_weighed_anew and not request.defective:
        raise CalibrationError(
            "the costs in force were weighed with defective images, which a bundle does not keep: give these again "
            "with --defective, or --cost-escape 0 to choose by the rate"
        )


def restore_bundle(bundle: Bundle, number: int, *, reason: str = "", by: str = "") -> Bundle:
    """The bundle with calibration `number` of its history (1 is the oldest) in force again."""
    restored, history = restore_calibration(
        bundle.calibration,
        bundle.history,
        number,
        created=_now(),
        by=by or _user(),
        reason=reason,
        carried=bundle.carried,
    )
    sensitivity = _sensitivity_under(bundle, restored)
    return dataclasses.replace(bundle, calibration=restored, history=history, sensitivity=sensitivity)


def short_hashes(paths: Sequence[Path], *, threads: int) -> tuple[str, ...]:
    """The first `HASH_DIGITS` hex digits of each file's SHA-256."""
    return tuple(digest[:HASH_DIGITS] for digest in hash_files(paths, threads=threads))


def _sensitivity_under(bundle: Bundle, calibration: Calibration) -> Sensitivity | None:
    return None if bundle.sensitivity is None else resettled(bundle.sensitivity, bundle.calibration, calibration)


def _check_new(bundle: Bundle, good: Sequence[Path], threads: int) -> None:
    known = set(bundle.manifest.data.image_sha256)
    digests = short_hashes(good, threads=threads)
    seen = [path for path, digest in zip(good, digests, strict=True) if digest in known]
    if seen:
        raise CalibrationError(
            f"{len(seen)} of {len(good)} images were used when this bundle was trained, the first: {seen[0]}; "
            "give good images that it has not seen, or none, to keep the scores that are in the bundle"
        )


def signed(calibration: Calibration, *, by: str = "", reason: str) -> Calibration:
    """The calibration as made now, by this person (the user where none is named) and for this reason."""
    return dataclasses.replace(calibration, created=_now(), by=by or _user(), reason=reason)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"
