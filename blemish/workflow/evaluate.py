"""Bundle + labelled data set -> evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from blemish.alignment.frame import straighten
from blemish.bundle.bundle import Bundle
from blemish.datasets.found import question_notes
from blemish.datasets.index import DatasetIndex, open_dataset
from blemish.datasets.maps import check_fit, find_maps, read_map
from blemish.datasets.mask_fit import MaskReader
from blemish.decisions.doubt import is_wrong_bundle
from blemish.decisions.explain import explain
from blemish.errors import DataError
from blemish.files import why_not_a_file
from blemish.images.decode import read_image, read_image_hw
from blemish.images.resize import resize_image, resize_map, resize_mask
from blemish.inspection.inspector import Inspector
from blemish.inspection.overlay import shrink_picture
from blemish.inspection.region_match import RegionMatch, match_regions
from blemish.metrics.accumulate import PixelAccumulator
from blemish.metrics.evaluate import image_metrics, operating_point
from blemish.metrics.intervals import median_interval
from blemish.metrics.reconstruction import mse
from blemish.runtime.threads import at_most
from blemish.schema import (
    DEFECTIVE,
    GOOD,
    AnomalyMap,
    Evaluation,
    Image,
    ImageItem,
    ImageResult,
    Mask,
    Picture,
    Progress,
    Verdict,
    silent,
)
from blemish.workflow.calibrate import short_hashes
from blemish.workflow.loco import SaturatedOverlap
from blemish.workflow.timing import parts_sentence

GALLERY_SIZE = 8
"""Pictures kept for each part of the report: escapes, false rejects, hits, accepted good parts."""
MOST_MISTAKES = 250
"""Escapes and false rejects are all kept, up to this many of each."""
PICTURE_PIXELS, SMALL_PICTURE_PIXELS = 4_000_000, 200_000
"""Pictures of larger images are kept smaller, since those of a report are in memory together; mistakes after the first
of their kind smaller still.
"""


def evaluate(
    inspector: Inspector,
    data: str | Path | DatasetIndex,
    *,
    map_hw: tuple[int, int] | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """The metrics of a bundle on the test images of `data`, with pictures for the report.

    Maps are judged at the size of their masks (of the image where there is no mask), or at `map_hw`. Raises DataError
    where there are no labelled test images of both kinds.
    """
    with at_most(inspector.threads):
        return _evaluate(inspector, data, map_hw, progress)


def _evaluate(
    inspector: Inspector, data: str | Path | DatasetIndex, map_hw: tuple[int, int] | None, progress: Progress
) -> Evaluation:
    index = data if isinstance(data, DatasetIndex) else open_dataset(Path(data))
    index = index.with_hashes(threads=inspector.threads)
    _require_files(index)
    items = unseen(inspector.bundle, index.test, threads=inspector.threads)
    _require_both(index, items)
    pixels = PixelAccumulator(pixel_threshold=inspector.bundle.calibration.pixel_threshold)
    saturated = SaturatedOverlap(index) if SaturatedOverlap.is_defined(index) else None
    matched = RegionMatch()
    masks = MaskReader(items)
    verdicts, errors = [], []
    for number, item in enumerate(items, start=1):
        image = read_image(item.path, inspector.reading)
        verdict = inspector.inspect_image(image, index.relative(item.path))
        errors.append(_reconstruction_mse(inspector, image, verdict))
        mask = masks.read(item, verdict.image_hw)
        _add_pixels(pixels, item, verdict.anomaly_map, mask, map_hw or verdict.image_hw)
        matched += _match(item, verdict, mask)
        if saturated is not None:
            saturated.update(item, verdict.anomaly_map, verdict.image_hw)
        verdicts.append(replace(verdict, anomaly_map=np.zeros((0, 0), np.float32), reconstruction=None))
        progress("inspecting test images", number, len(items))
    metrics = {
        **_metrics(items, verdicts, pixels),
        **(saturated.compute() if saturated is not None else {}),
        **_reconstruction_metrics(items, errors),
        **(asdict(matched) if matched.num_defects else {}),
    }
    shown = _gallery(items, verdicts)
    told = (*masks.notes, *_doubts(inspector.bundle, items, verdicts))
    return Evaluation(
        metrics=metrics,
        model={**model_facts(inspector.bundle), "engine": inspector.session.engine},
        data=data_facts(index, items, pixels.num_without_mask, len(index.test) - len(items), told),
        results=tuple(_result(*found) for found in zip(items, verdicts, errors, strict=True)),
        pictures=tuple(_picture(inspector, index, items[place], most_pixels) for place, most_pixels in shown),
    )


def evaluate_maps(
    maps: Path, data: str | Path | DatasetIndex, *, map_hw: tuple[int, int] | None = None, progress: Progress = silent
) -> Evaluation:
    """The ranking metrics of anomaly maps that any other tool saved; see `find_maps` for the folder.

    The image score is the maximum of the map where no scores.csv gives it. There is no threshold, so nothing is
    decided: rates at an operating point are left out.
    """
    index = data if isinstance(data, DatasetIndex) else open_dataset(Path(data))
    _require_both(index, index.test)
    pixels = PixelAccumulator()
    saturated = SaturatedOverlap(index) if SaturatedOverlap.is_defined(index) else None
    scores = []
    masks = MaskReader(index.test)
    saved = find_maps(maps, index)
    check_fit(saved)
    for number, found in enumerate(saved, start=1):
        anomaly_map = read_map(found.path)
        scores.append(float(anomaly_map.max()) if found.anomaly_score is None else found.anomaly_score)
        image_hw = read_image_hw(found.item.path)
        _add_pixels(pixels, found.item, anomaly_map, masks.read(found.item, image_hw), map_hw or image_hw)
        if saturated is not None:
            saturated.update(found.item, anomaly_map, image_hw)
        progress("reading maps", number, len(saved))
    items = [found.item for found in saved]
    parts = [
        image_metrics(np.array([item.label for item in items]), np.array(scores)),
        _pixel_metrics(pixels),
        saturated.compute() if saturated is not None else {},
    ]
    return Evaluation(
        metrics=_merge(parts),
        model={"detector": "saved maps", "path": str(maps)},
        data=data_facts(index, items, pixels.num_without_mask, told=masks.notes),
        results=(),
    )


def model_facts(bundle: Bundle) -> dict[str, Any]:
    """What a report says of the bundle it judged."""
    manifest = bundle.manifest
    return {
        "bundle_id": bundle.bundle_id,
        "detector": manifest.detector,
        "backbone": manifest.backbone.name if manifest.backbone else None,
        "input_hw": list(manifest.input_hw),
        "tile_px": manifest.tiling.tile_px if manifest.tiling else None,
        "settings": manifest.settings,
        "seed": manifest.seed,
        "created": manifest.created,
        "num_fit": manifest.data.num_fit,
        "num_calibration": manifest.data.num_calibration,
        "calibration": bundle.calibration.method,
        "promise": list(explain(bundle.calibration)),
        "image_threshold": bundle.calibration.image_threshold,
        "fit_seconds": manifest.facts.get("fit_seconds"),
        "seconds_by_part": parts_sentence(manifest.facts.get("seconds_by_part", {})) or None,
        "facts": manifest.facts,
        "versions": manifest.versions,
    }


def _doubts(bundle: Bundle, items: Sequence[ImageItem], verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """A question where nearly all good images are rejected."""
    good = [verdict.decision for item, verdict in zip(items, verdicts, strict=True) if item.is_good]
    num_rejected = good.count("reject")
    if not is_wrong_bundle(num_rejected, len(good)):
        return ()
    data = bundle.manifest.data
    return (
        f"{num_rejected} of {len(good)} good images are rejected: is this the right bundle? It learned "
        f"{data.num_fit:,} good images of {data.name}.",
    )


def unseen(bundle: Bundle, items: Sequence[ImageItem], *, threads: int) -> tuple[ImageItem, ...]:
    """The images, less those that the bundle was fitted or calibrated on (told by the hash of the file)."""
    known = set(bundle.manifest.data.image_sha256)
    hashes = short_hashes([item.path for item in items], threads=threads)
    return tuple(item for item, digest in zip(items, hashes, strict=True) if digest not in known)


def data_facts(
    index: DatasetIndex,
    items: Sequence[ImageItem],
    num_without_mask: int,
    num_seen: int = 0,
    told: Sequence[str] = (),
) -> dict[str, Any]:
    """What a report says of the data set it used; `told` is said of its masks."""
    notes = [*index.notes, *told]
    if num_seen:
        notes.append(f"{num_seen} test images are copies of images that the bundle was trained on: they are left out.")
    if num_without_mask:
        notes.append(
            f"{num_without_mask} defective images have no mask or an empty one: they count at image level and are "
            "left out at pixel level."
        )
    return {
        "name": index.name,
        "layout": index.layout,
        "fingerprint": index.fingerprint,
        "num_good": sum(item.label == GOOD for item in items),
        "num_defective": sum(item.label == DEFECTIVE for item in items),
        "num_without_mask": num_without_mask,
        "notes": notes,
    }


def _require_files(index: DatasetIndex) -> None:
    """An evaluation without some of its images would flatter or blame, so what is no file is counted first."""
    missing = [(item.path, reason) for item in index.test if (reason := why_not_a_file(item.path))]
    if missing:
        path, reason = missing[0]
        raise DataError(
            f"{index.root}: {len(missing)} of {len(index.test)} test images cannot be read, the first {path}: {reason}"
        )


def _require_both(index: DatasetIndex, items: Sequence[ImageItem]) -> None:
    labels = {item.label for item in items}
    if labels != {GOOD, DEFECTIVE}:
        found = "no labelled test images" if not labels else "only good" if labels == {GOOD} else "only defective"
        raise DataError(
            f"{index.root}: {found} images to test on; an evaluation needs good and defective ones, "
            "for example in test/good and test/<defect>"
            + "".join(f"; {note}" for note in question_notes(index.questions, index.root))
        )


def _reconstruction_mse(inspector: Inspector, image: Image, verdict: Verdict) -> float | None:
    """The mean squared error of the image at the input size, pixels from 0 to 1."""
    redrawn = verdict.reconstruction
    if redrawn is None:
        return None
    if inspector.alignment is not None:
        image = straighten(image, inspector.alignment).image
    return mse(resize_image(image, (redrawn.shape[0], redrawn.shape[1])), redrawn) / 255.0**2


def _reconstruction_metrics(items: Sequence[ImageItem], errors: Sequence[float | None]) -> dict[str, float]:
    """Means over the good test images; nothing where nothing was reconstructed."""
    found = [error for item, error in zip(items, errors, strict=True) if item.is_good and error is not None]
    if not found:
        return {}
    decibels = [-10 * math.log10(max(error, 1e-12)) for error in found]
    return {"reconstruction_mse": float(np.mean(found)), "reconstruction_psnr": float(np.mean(decibels))}


def _add_pixels(
    pixels: PixelAccumulator,
    item: ImageItem,
    anomaly_map: AnomalyMap,
    mask: Mask | None,
    hw: tuple[int, int],
) -> None:
    if mask is not None and mask.shape != hw:
        mask = resize_mask(mask, hw)
    pixels.update(resize_map(anomaly_map, hw), mask, int(item.label or GOOD))


def _match(item: ImageItem, verdict: Verdict, mask: Mask | None) -> RegionMatch:
    """Regions against the mask; of a defective image without one nothing can be told."""
    if item.label == DEFECTIVE and mask is None:
        return RegionMatch()
    return match_regions(verdict.regions, np.zeros(verdict.image_hw, np.bool_) if mask is None else mask)


def _metrics(items: Sequence[ImageItem], verdicts: Sequence[Verdict], pixels: PixelAccumulator) -> dict[str, Any]:
    labels = np.array([item.label for item in items])
    scores = np.array([verdict.score for verdict in verdicts])
    rejected = np.array([verdict.decision == "reject" for verdict in verdicts])
    in_review = np.array([verdict.decision == "review" for verdict in verdicts])
    times = [verdict.milliseconds for verdict in verdicts]
    time_limits = median_interval(times)
    return _merge(
        [
            image_metrics(labels, scores),
            _pixel_metrics(pixels),
            operating_point(labels, rejected, [item.defect_type for item in items], scores=scores, reviewed=in_review),
            {
                "num_review": int(in_review.sum()),
                "milliseconds": float(np.median(times)),
                "intervals": {} if time_limits is None else {"milliseconds": list(time_limits)},
            },
        ]
    )


def _pixel_metrics(pixels: PixelAccumulator) -> dict[str, Any]:
    return pixels.compute() if pixels.has_defects else {}


def _merge(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One flat dictionary, the intervals of all parts together."""
    merged = {name: value for part in parts for name, value in part.items()}
    merged["intervals"] = {name: value for part in parts for name, value in part.get("intervals", {}).items()}
    return merged


def _gallery(items: Sequence[ImageItem], verdicts: Sequence[Verdict]) -> list[tuple[int, int]]:
    """Places of the images to show, and how many pixels each may have: escapes and false rejects, the worst first, then
    the surest hits and the good parts nearest to reject.
    """
    groups: list[list[int]] = [[], [], [], []]
    for place, (item, verdict) in enumerate(zip(items, verdicts, strict=True)):
        is_rejected = verdict.decision == "reject"
        group = (2 if is_rejected else 0) if item.label == DEFECTIVE else (1 if is_rejected else 3)
        groups[group].append(place)
    lowest_first = [0]
    chosen: list[tuple[int, int]] = []
    for number, places in enumerate(groups):
        places.sort(key=lambda place: verdicts[place].score, reverse=number not in lowest_first)
        chosen.extend((place, PICTURE_PIXELS) for place in places[:GALLERY_SIZE])
        if number in (0, 1):  # every mistake can be opened on the page
            chosen.extend((place, SMALL_PICTURE_PIXELS) for place in places[GALLERY_SIZE:MOST_MISTAKES])
    return chosen


def _picture(inspector: Inspector, index: DatasetIndex, item: ImageItem, most_pixels: int) -> Picture:
    image = read_image(item.path, inspector.reading)
    verdict = inspector.inspect_image(image, index.relative(item.path))
    mask = MaskReader([item]).read(item, verdict.image_hw)
    image, verdict = shrink_picture(image, verdict, most_pixels)
    if mask is not None and mask.shape != image.shape[:2]:
        mask = resize_mask(mask, (image.shape[0], image.shape[1]))
    return Picture(item, verdict, image, mask)


def _result(item: ImageItem, verdict: Verdict, reconstruction_mse: float | None) -> ImageResult:
    return ImageResult(
        path=verdict.path,
        label=int(item.label or GOOD),
        defect_type=item.defect_type,
        score=verdict.score,
        decision=verdict.decision,
        display_score=verdict.display_score,
        p_value=verdict.p_value,
        milliseconds=verdict.milliseconds,
        has_mask=item.mask_path is not None,
        reconstruction_mse=reconstruction_mse,
    )
