"""Good images -> bundle: index, fit, calibration."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.bundle.bundle import Bundle
from blemish.bundle.manifest import BackboneFacts, DataFacts, Manifest
from blemish.datasets.found import question_notes
from blemish.datasets.index import DatasetIndex, open_dataset
from blemish.datasets.sequence import ImageFiles, ResizedImages, find_unreadable, read_image_sizes
from blemish.datasets.split import CALIBRATION_SHARE, NUM_FOLDS, block_folds, holdout_split
from blemish.decisions.thresholds import suspects
from blemish.decisions.wishes import CalibrationSettings
from blemish.detectors.base import Detector, FitRequest, Preset
from blemish.errors import DataError, ImageError, SettingsError
from blemish.images.decode import as_image
from blemish.images.resize import RESIZE_RULE, choose_input_hw, size_within
from blemish.registry import DEFAULT_BACKBONE, DEFAULT_DETECTOR, load_detector
from blemish.runtime.peak_memory import peak_memory_mb
from blemish.schema import DEFECTIVE, Backbone, Fit, Image, ImageItem, Progress, Tiling, Zone, silent
from blemish.weights import find_backbone
from blemish.workflow.calibrate import (
    GoodScores,
    ProductFacts,
    calibrate_held_out,
    score_images,
    scores_inside,
    short_hashes,
)
from blemish.workflow.defects import labelled_defects, read_defects
from blemish.workflow.detector_settings import find_preset, make_settings, settings_json
from blemish.workflow.tiles import fit_on_tiles, make_tiling
from blemish.workflow.timing import PartTimes

NUM_SAMPLES = 8
"""Good images kept in the bundle, to check engines and exports with."""
MOST_CROSS_PIXELS = 2**28
"""Most pixels of all good images at the input size, 4,096 images of 256 x 256, that cross-fitting is the default for:
it keeps a map of each, 1 GB in all, and of more a part is enough for the exact promise of a split."""

DataSource = str | Path | DatasetIndex | Sequence[NDArray[Any]]
Size = int | tuple[int, int]


@dataclass(frozen=True)
class GoodImages:
    """The images to fit and calibrate on: paths or arrays, what each is called, and where they come from."""

    name: str
    fingerprint: str
    sources: tuple[Path | Image, ...]
    names: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


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
    calibration_settings: CalibrationSettings | None = None,
    product: ProductFacts | None = None,
    with_defects: bool = False,
    skip_unreadable: bool = False,
    progress: Progress = silent,
) -> Bundle:
    """A bundle fitted and calibrated on the good images of `data`.

    `size` is the shorter side of the graph's input in pixels (256), the longer one follows the median shape of the
    images; or (height, width). With `tile` images are cut into overlapping squares of so many pixels, each resized to
    `size` x `size` (by default not at all); what is inspected with the bundle is cut alike. A `preset` of the detector
    stands for its settings and, without tiles, for its size, but never enlarges images beyond 256 pixels; `size` and
    `settings` go before it. Test images of `data` are never read. Good images whose held-out score lies far above the
    rest are named in the manifest's facts under "suspicious". With `with_defects` half of the labelled defects of
    `data` are learned from, by detectors that can; an evaluation leaves these out.
    """
    progress = times = PartTimes(progress)
    module = load_detector(detector)
    chosen = None if preset is None else find_preset(module.INFO, preset)
    on_tiles = {} if tile is None else module.INFO.on_tiles
    checked = make_settings(module.INFO, {**on_tiles, **(chosen.settings if chosen else {}), **(settings or {})})
    network = find_backbone(backbone) if module.INFO.needs_backbone else None
    good = good_images(data, skip_unreadable=skip_unreadable, progress=progress)
    _check_count(good, module)
    product = product or ProductFacts()
    start = time.perf_counter()
    defects: tuple[ImageItem, ...] = ()
    try:
        method = calibration or ("cross" if module.INFO.calibration == "cross" else "split")
        if tile is None:
            images = ResizedImages(good.sources, _input_hw(good.sources, size, chosen))
            if calibration is None and len(images) * images.hw[0] * images.hw[1] > MOST_CROSS_PIXELS:
                method = "split"
            defects = labelled_defects(data, seed) if with_defects else ()
            request = FitRequest(
                images=images,
                settings=checked,
                backbone=network,
                seed=seed,
                defects=read_defects(module.INFO, defects, images.hw),
                progress=progress,
            )
            made = _fit(module, request, images, method, product.zone)
        else:
            if with_defects or isinstance(size, tuple):
                wanted = "learning from defects" if with_defects else "a size of height and width"
                raise SettingsError(f"{wanted} and tiles do not go together: leave one of them out")
            made = _fit_tiles(module, checked, good, tile, size, network, seed, method, product.zone, progress)
    except ImageError as error:
        raise _explain_unreadable(good.sources, progress) from error
    seconds = time.perf_counter() - start
    fit = made.fit
    thresholds = calibrate_held_out(
        made.found,
        made.pictures,
        graph_sha256=hashlib.sha256(fit.graph).hexdigest(),
        method=method,
        settings=calibration_settings,
        product=product,
    )
    progress("calibrating", 1, 1)
    far = [good.names[int(made.held[place])] for place in suspects(made.found.scores)]
    num_good, num_held = len(good.sources), len(made.held)
    manifest = Manifest(
        format_version=1 if made.tiling is None else 2,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        detector=detector,
        settings=settings_json(module.INFO, checked),
        seed=seed,
        input_hw=made.pictures.hw,
        resize_rule=RESIZE_RULE,
        reduction=fit.reduction,
        backbone=None if network is None else _backbone_facts(network),
        data=DataFacts(
            name=good.name,
            fingerprint=good.fingerprint,
            num_fit=fit.facts.get("num_learned", num_good if method == "cross" else num_good - num_held),
            num_calibration=num_held,
            image_sha256=short_hashes(
                [
                    *(source for source in good.sources if isinstance(source, Path)),
                    *(item.path for item in defects),
                ]
            ),
        ),
        facts={
            **fit.facts,
            **made.facts,
            "preset": preset,
            "fit_seconds": round(seconds, 3),
            "seconds_by_part": times.seconds,
            "peak_memory_mb": peak_memory_mb(),
            "skipped": list(good.skipped),
            "suspicious": far,
            "notes": [*good.notes, *fit.facts.get("notes", [])],
        },
        versions=_versions(),
        tiling=made.tiling,
    )
    return Bundle(manifest, fit.graph, thresholds, samples=_samples(made.seen))


def good_images(data: DataSource, *, skip_unreadable: bool = False, progress: Progress = silent) -> GoodImages:
    """The good images of a folder, an index or arrays. Raises DataError where one cannot be used."""
    if isinstance(data, (str, Path)):
        data = open_dataset(Path(data))
    if not isinstance(data, DatasetIndex):
        arrays = tuple(as_image(array) for array in data)
        return GoodImages("arrays", "", arrays, tuple(f"array {number}" for number in range(len(arrays))))
    defective = [item for item in data.items if item.split == "train" and item.label == DEFECTIVE]
    if defective:
        raise DataError(
            f"{data.root}: {len(defective)} defective images stand among the training images, "
            f"the first is {data.relative(defective[0].path)}; move them to the test part"
            + "".join(f"; {note}" for note in question_notes(data.questions, data.root))
        )
    paths = [item.path for item in data.train_good]
    bad = {path for path, _ in find_unreadable(paths, progress)} if skip_unreadable else set()
    kept = tuple(path for path in paths if path not in bad)
    return GoodImages(
        data.name,
        data.fingerprint,
        kept,
        tuple(data.relative(path) for path in kept),
        tuple(data.relative(path) for path in sorted(bad)),
        data.notes,
    )


def _explain_unreadable(sources: Sequence[Path | Image], progress: Progress) -> ImageError:
    """What to say after one image could not be read: all that cannot, counted."""
    paths = [source for source in sources if isinstance(source, Path)]
    unreadable = find_unreadable(paths, progress)
    return ImageError(
        f"{len(unreadable)} of {len(paths)} training images cannot be read, the first: {unreadable[0][1]}; "
        "mend or remove them, or go on without them with --skip-unreadable"
    )


def _check_count(good: GoodImages, module: Detector) -> None:
    needed = module.INFO.min_images
    if len(good.sources) < needed:
        raise DataError(
            f"{good.name}: {len(good.sources)} good images, {module.INFO.name} needs at least {needed} "
            "(20 for a useful threshold, 59 to promise at most 5 % false rejects at 95 % confidence)"
            + "".join(f"; {note}" for note in good.notes)
        )


def _input_hw(sources: Sequence[Path | Image], size: Size | None, preset: Preset | None) -> tuple[int, int]:
    if isinstance(size, tuple):
        if min(size) < 32 or any(side % 32 for side in size):
            raise SettingsError(f"size {size[0]}x{size[1]}: both sides must be multiples of 32, for example 256x640")
        return size
    sizes = _image_hws(sources)
    if size is None:
        size = 256 if preset is None else size_within(sizes, preset.size)
    return choose_input_hw(sizes, size)


def _image_hws(sources: Sequence[Path | Image]) -> list[tuple[int, int]]:
    """Height and width of each image, in the order given."""
    from_files = iter(read_image_sizes([source for source in sources if isinstance(source, Path)]))
    return [next(from_files) if isinstance(source, Path) else (source.shape[0], source.shape[1]) for source in sources]


@dataclass(frozen=True)
class _Made:
    """A fit, and `found`: scores of the good images at the places `held`, by models that did not see them.

    `pictures` are all good images at the input size, `seen` what the detector was given of them.
    """

    fit: Fit
    found: GoodScores
    held: NDArray[np.intp]
    pictures: ResizedImages
    seen: Sequence[Image]
    tiling: Tiling | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def _fit(
    module: Detector,
    request: FitRequest[Any],
    images: ResizedImages,
    method: Literal["cross", "split"],
    zone: Zone | None,
) -> _Made:
    if method == "cross":
        fit = module.fit(replace(request, folds=block_folds(len(images), min(NUM_FOLDS, len(images)))))
        assert fit.held_out is not None
        return _Made(fit, scores_inside(fit.held_out, fit.reduction, zone), np.arange(len(images)), images, seen=images)
    kept, held = holdout_split(len(images), CALIBRATION_SHARE, request.seed)
    if len(kept) < module.INFO.min_images or len(held) < 2:
        raise DataError(
            f"{len(images)} good images are too few to keep a part for calibration: "
            "add images or use --calibration cross"
        )
    fit = module.fit(replace(request, images=images.subset(kept)))
    found = score_images(fit.graph, images.subset(held), fit.reduction, tiling=None, zone=zone, progress=request.report)
    return _Made(fit, found, held, images, seen=images)


def _fit_tiles(
    module: Detector,
    settings: Any,
    good: GoodImages,
    tile: int,
    size: int | None,
    backbone: Backbone | None,
    seed: int,
    method: Literal["cross", "split"],
    zone: Zone | None,
    progress: Progress,
) -> _Made:
    image_hws = _image_hws(good.sources)
    tiling, side = make_tiling(tile, size, image_hws)
    fit, found, held, cut = fit_on_tiles(
        module.INFO,
        module.fit,
        settings,
        ImageFiles(good.sources),
        image_hws,
        tiling,
        side,
        backbone,
        seed,
        method,
        zone,
        progress,
    )
    facts = {"num_tiles": len(cut.tiles), "num_possible_tiles": cut.num_possible}
    return _Made(fit, found, held, ResizedImages(good.sources, (side, side)), cut.tiles, tiling, facts)


def _samples(images: Sequence[Image]) -> tuple[bytes, ...]:
    places = np.unique(np.linspace(0, len(images) - 1, NUM_SAMPLES).round().astype(int))
    return tuple(cv2.imencode(".png", images[int(place)][..., ::-1])[1].tobytes() for place in places)


def _backbone_facts(backbone: Backbone) -> BackboneFacts:
    return BackboneFacts(name=backbone.name, sha256=backbone.sha256, licence=backbone.licence, source=backbone.source)


def _versions() -> dict[str, str]:
    packages = ("blemish", "numpy", "onnx", "onnxruntime", "opencv-python-headless")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}
