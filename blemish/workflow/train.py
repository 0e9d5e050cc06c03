"""Good images -> bundle: index, fit, calibration."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.boundary import boundary
from blemish.bundle.bounds import check_graph
from blemish.bundle.bundle import Bundle
from blemish.bundle.manifest import FORMAT_VERSION, MAX_SIDE, BackboneFacts, DataFacts, Manifest
from blemish.datasets.groups import Groups, group_folds, named_groups, no_groups
from blemish.datasets.sequence import ImageFiles, ResizedImages, sizes_of
from blemish.datasets.split import CALIBRATION_SHARE, NUM_FOLDS, block_folds, holdout_split
from blemish.decisions.odd import odd_images
from blemish.decisions.thresholds import suspects
from blemish.decisions.wishes import CalibrationSettings
from blemish.detectors.base import NO_DEFECTS, Defects, Detector, DetectorInfo, FitRequest, Preset
from blemish.errors import CalibrationError, DataError, ImageError, SettingsError
from blemish.images.resize import RESIZE_RULE, check_side, choose_input_hw, size_within
from blemish.registry import DEFAULT_BACKBONE, DEFAULT_DETECTOR, detector_label, detector_name, load_detector
from blemish.runtime.peak_memory import peak_memory_mb
from blemish.runtime.threads import at_most, usable_cores
from blemish.schema import (
    AS_THEY_ARE,
    Align,
    Alignment,
    Backbone,
    Cancel,
    Fit,
    HeldOut,
    Image,
    ImageItem,
    Progress,
    ReadSettings,
    Tiling,
    TrainingRun,
    cancellable,
    never,
    silent,
)
from blemish.text import one_line
from blemish.weights import find_backbone
from blemish.workflow.calibrate import (
    GoodScores,
    ProductFacts,
    calibrate_held_out,
    check_zone_size,
    score_images,
    scores_inside,
    short_hashes,
)
from blemish.workflow.defects import labelled_defects, read_defects
from blemish.workflow.detector_settings import find_preset, make_settings, preset_name, settings_json
from blemish.workflow.good_images import DataSource, GoodImages, explain_unreadable, good_images
from blemish.workflow.input_size import SMALLEST, choose_size
from blemish.workflow.laying_straight import LaidStraight, choose_alignment, frame_input_hw, zone_in_frame
from blemish.workflow.parts import MOST_IMAGES, Parts, batch_notes, check_trusted, find_parts, measure_new_batches
from blemish.workflow.sensitivity import SensitivityRequest, measure_sensitivity
from blemish.workflow.tiles import cut_fit_tiles, fit_on_tiles, make_tiling
from blemish.workflow.timing import PartTimes

NUM_SAMPLES = 8
"""Good images kept in the bundle, to check engines and exports with."""
MOST_CROSS_PIXELS = 2**28
"""Most pixels of all good images at the input size, 4,096 images of 256 x 256, that cross-fitting is the default for:
it keeps a map of each, 1 GB in all, and of more a part is enough for the exact promise of a split."""

Size = int | tuple[int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainRequest:
    """What a bundle is trained on, and how; what cannot be is refused before any image is read.

    `size` is the shorter side of the graph's input in pixels, the longer one follows the median shape of the images;
    or (height, width). None chooses it by small painted defects where the detector fits quickly (see `choose_size`), so
    that one image takes at most `max_ms` (50); elsewhere it is 256. With `tile` images are cut into overlapping squares
    of so many pixels, each resized to `size` x `size` (by default not at all); what is inspected with the bundle is cut
    alike. A `preset` of the detector stands for its settings and, without tiles, for its size, but never enlarges
    images beyond 256 pixels; `size` and
    `settings` go before it. `align` says how parts are laid straight: see `choose_alignment`;
    an alignment of an earlier bundle is used as it is, and a zone is one of its frame then. `calibration` None is
    what suits the detector and the number of images; "blocks" is "cross"
    with folds of neighbors in the order of names. Images of one part are held out together: found by how alike they
    look, or named by `group_by` (see `named_groups`). `trusted` names good images that look odd and are good. With
    `with_defects` half of the labelled defects of `data` are learned from, by detectors that can; an evaluation leaves
    these out. With `with_sensitivity` defects are painted on the good images, to tell which would be missed. `reading`
    says what the files do not say of themselves; the bundle keeps it. `run`, `threads`, `progress` and `cancel` are
    those of `FitRequest`.

    >>> TrainRequest(data="bottle/", detector="template", settings={"cell": 8}).detector_settings().cell
    8
    """

    data: DataSource
    detector: str = DEFAULT_DETECTOR
    backbone: str = DEFAULT_BACKBONE
    preset: str | None = None
    size: Size | None = None
    tile: int | None = None
    max_ms: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    calibration: Literal["cross", "split", "blocks"] | None = None
    group_by: str | None = None
    trusted: tuple[str, ...] = ()
    wishes: CalibrationSettings = field(default_factory=CalibrationSettings)
    product: ProductFacts = field(default_factory=ProductFacts)
    align: Align | Alignment = "auto"
    with_defects: bool = False
    with_sensitivity: bool = False
    skip_unreadable: bool = False
    reading: ReadSettings = AS_THEY_ARE
    run: TrainingRun = field(default_factory=TrainingRun)
    threads: int = field(default_factory=usable_cores)
    progress: Progress = silent
    cancel: Cancel = never

    def __post_init__(self) -> None:
        object.__setattr__(self, "detector", detector_name(self.detector))
        info = self.info
        if self.preset is not None:
            object.__setattr__(self, "preset", preset_name(info, self.preset))
        self.detector_settings()
        if self.seed < 0:
            raise SettingsError(f"seed is {self.seed}: give 0 or more")
        if self.max_ms is not None and not self.max_ms > 0:
            raise SettingsError(f"--max-ms {self.max_ms:g}: give milliseconds over 0, for example 50")
        if self.threads < 1:
            raise SettingsError(f"threads is {self.threads}: give 1 or more")
        if self.calibration not in (None, "cross", "split", "blocks"):
            raise SettingsError(f"calibration {self.calibration!r} is not known: use cross, split or blocks")
        if isinstance(self.size, int):
            check_side(self.size)
        if isinstance(self.size, tuple) and (min(self.size) < 32 or any(side % 32 for side in self.size)):
            height, width = self.size
            raise SettingsError(f"size {height}x{width}: both sides must be multiples of 32, for example 256x640")
        if self.tile is not None and info.is_positional:
            raise SettingsError(
                f"{info.name} learns what is usual at each place of the image, and a tile may come from anywhere: "
                "leave --tile out, or use patchcore"
            )
        if not isinstance(self.align, Alignment) and self.align not in get_args(Align):
            raise SettingsError(f"align {self.align!r} is not known: use {', '.join(get_args(Align))}")
        if self.tile is not None and self.align not in ("auto", "off"):
            raise SettingsError(
                f"--align {self.align} and --tile do not go together: a tile may come from anywhere; leave one out"
            )
        if self.tile is not None and (self.with_defects or isinstance(self.size, tuple)):
            wanted = "learning from defects" if self.with_defects else "a size of height and width"
            raise SettingsError(f"{wanted} and tiles do not go together: leave one of them out")
        if self.with_defects and not info.learns_from_defects:
            raise SettingsError(f"{info.name} cannot learn from defects; patchcore and classifier can")
        if self.run != TrainingRun() and not info.needs_torch:
            raise SettingsError(
                f"{info.name} has no training to resume, log or place on a device; leave these options out"
            )
        if info.needs_torch and not self.run.on_ray:
            from blemish.learned.device import resolve_device

            resolve_device(self.run.device)

    @property
    def info(self) -> DetectorInfo:
        """What the detector declares of itself."""
        return load_detector(self.detector).INFO

    def chosen_preset(self) -> Preset | None:
        """The preset of that name. Raises SettingsError where the detector has none of it."""
        return None if self.preset is None else find_preset(self.info, self.preset)

    def detector_settings(self) -> Any:
        """The detector's settings: those given, then the preset's, then those for tiles, then the defaults."""
        preset = self.chosen_preset()
        on_tiles = {} if self.tile is None else self.info.on_tiles
        return make_settings(self.info, {**on_tiles, **(preset.settings if preset else {}), **self.settings})


@dataclass(frozen=True)
class Trained:
    """A bundle and what its thresholds come from.

    `good_scores` are of the good images at the places `held`, by models that did not see them; `scores_before` the same
    without what defects told, and `shown` of the defects (see `Fit`).
    """

    bundle: Bundle
    good_scores: NDArray[np.float32]
    held: NDArray[np.intp]
    scores_before: NDArray[np.float32] | None
    shown: HeldOut | None


def train(request: TrainRequest) -> Bundle:
    """A bundle fitted and calibrated on the good images of the request.

    Test images are never read. Good images whose held-out score lies far above the rest are named in the manifest's
    facts under "suspicious".
    """
    with at_most(request.threads):
        return _train(request)


def _train(request: TrainRequest) -> Bundle:
    times = PartTimes(request.progress)
    _network(request)  # before any image is read
    good = good_images(
        request.data,
        skip_unreadable=request.skip_unreadable,
        reading=request.reading,
        threads=request.threads,
        progress=cancellable(times, request.cancel),
    )
    check_good_images(good, request)
    defects = labelled_defects(request.data, request.seed, request.threads) if request.with_defects else ()
    return train_on(request, good, defects, times).bundle


def check_good_images(good: GoodImages, request: TrainRequest) -> None:
    """Raises DataError where there are too few, SettingsError where a trusted one is none of them."""
    _check_count(good, load_detector(request.detector))
    check_trusted(request.trusted, good.names)


def _network(request: TrainRequest) -> Backbone | None:
    return find_backbone(request.backbone) if request.info.needs_backbone else None


def train_on(request: TrainRequest, good: GoodImages, defects: Sequence[ImageItem], times: PartTimes) -> Trained:
    """As `train`, on these good images and real defects in place of those of the request's data."""
    report = cancellable(times, request.cancel)
    module = load_detector(request.detector)
    settings, network = request.detector_settings(), _network(request)
    start = time.perf_counter()
    defect_notes: tuple[str, ...] = ()
    reason = ""

    def ask(images: Sequence[Image], known: Defects = NO_DEFECTS) -> FitRequest[Any]:
        return FitRequest(
            images=images,
            settings=settings,
            backbone=network,
            seed=request.seed,
            defects=known,
            progress=times,
            cancel=request.cancel,
            threads=request.threads,
            run=request.run,
        )

    try:
        laid = _laid_straight(request, good, report)
        if laid.alignment is None:
            check_zone_size(request.product.zone, good.sources, good.names)
        else:
            good, request = good.only(laid.kept), _with_zone_in_frame(request, laid.alignment)
        if request.tile is None:
            input_hw, reason = _input_hw(good, request, ask, laid.alignment)
            if max(input_hw) > MAX_SIDE:
                raise SettingsError(
                    f"the input would be {input_hw[0]} x {input_hw[1]} pixels, at most {MAX_SIDE:,} a side are "
                    "possible; give a smaller --size, or cut images with --tile"
                )
            images = ResizedImages(
                good.sources, input_hw, request.reading, alignment=laid.alignment, threads=request.threads
            )
            parts = _parts(request, good, images, report)
            known, defect_notes = read_defects(defects, images.hw, request.threads, request.reading, laid.alignment)
            made = _fit(request, ask(images, known), images, parts.groups)
        else:
            parts = _parts(request, good, ImageFiles(good.sources), report)
            made = _fit_tiles(request, ask, good, parts.groups, report)
    except ImageError as error:
        raise explain_unreadable(error, good, request.threads, report) from error
    seconds = time.perf_counter() - start
    fit = made.fit
    with boundary(f"detector {request.detector}", SettingsError, "docs/bundle-format.md says what a graph may hold"):
        check_graph(fit.graph, made.pictures.hw)
    shares = good.weighed(parts.groups.shares())[made.held]
    thresholds = calibrate_held_out(
        made.found,
        made.pictures,
        graph_sha256=hashlib.sha256(fit.graph).hexdigest(),
        method=made.method,
        shares=shares,
        settings=request.wishes,
        product=request.product,
    )
    report("calibrating", 1, 1)
    in_new_batches, is_measured = parts.rejects_in_new_batches, _derives_folds(request, made)
    if in_new_batches is not None and is_measured:
        in_new_batches = measure_new_batches(
            module.fit,
            ask(made.pictures),
            lambda held_out: scores_inside(held_out, fit.reduction, request.product.zone).scores,
            thresholds.image_threshold,
        )
    far = [good.names[int(made.held[place])] for place in suspects(made.found.scores)]
    far = [name for name in far if name not in request.trusted]
    odd = odd_images(made.found.scores, request.wishes, shares=shares)
    num_good, num_held = len(good.sources), len(made.held)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        detector=detector_label(request.detector),
        settings=settings_json(module.INFO, settings),
        seed=request.seed,
        input_hw=made.pictures.hw,
        resize_rule=RESIZE_RULE,
        reduction=fit.reduction,
        backbone=None if network is None else _backbone_facts(network),
        data=DataFacts(
            name=one_line(good.name),
            fingerprint=good.fingerprint,
            num_fit=fit.facts.get("num_learned", num_good if made.method == "cross" else num_good - num_held),
            num_calibration=num_held,
            image_sha256=short_hashes(
                [
                    *(source for source in good.sources if isinstance(source, Path)),
                    *(item.path for item in defects),
                ],
                threads=request.threads,
            ),
        ),
        facts={
            **fit.facts,
            **made.facts,
            "preset": request.preset,
            "input_size": reason,
            **({"alignment": laid.reason} if laid.reason else {}),
            "fit_seconds": round(seconds, 3),
            "seconds_by_part": times.seconds,
            "peak_memory_mb": peak_memory_mb(),
            "skipped": list(good.skipped),
            "suspicious": far,
            "odd": [
                {"name": good.names[int(made.held[one.place])], "threshold_without": one.threshold_without}
                for one in odd
                if good.names[int(made.held[one.place])] not in request.trusted
            ],
            "trusted": list(request.trusted),
            "num_parts": parts.groups.count,
            "rejects_in_new_batches": in_new_batches,
            "notes": [
                *good.notes,
                *laid.notes,
                *defect_notes,
                *fit.facts.get("notes", []),
                *parts.notes,
                *batch_notes(in_new_batches, request.wishes.false_reject, is_measured=is_measured),
            ],
        },
        versions=_versions(),
        tiling=made.tiling,
        bits=request.reading.bits,
        page=request.reading.page,
        alignment=laid.alignment,
    )
    manifest = manifest.model_copy(update={"format_version": manifest.version_needed})
    bundle = Bundle(manifest, fit.graph, thresholds, samples=_samples(made.seen))
    if request.with_sensitivity:
        bundle = _with_sensitivity(bundle, request, good, times)
    before = None
    if fit.unsupervised is not None and made.method == "cross":
        before = scores_inside(fit.unsupervised, fit.reduction, request.product.zone).scores
    return Trained(bundle, made.found.scores, made.held, before, fit.shown)


def _with_sensitivity(bundle: Bundle, request: TrainRequest, good: GoodImages, progress: Progress) -> Bundle:
    wanted = SensitivityRequest(
        good=good.sources,
        seed=request.seed,
        reading=request.reading,
        threads=request.threads,
        progress=progress,
        cancel=request.cancel,
    )
    try:
        return replace(bundle, sensitivity=measure_sensitivity(bundle, wanted).sensitivity)
    except CalibrationError:  # all are rejected as they are, by rules or a confidence: nothing can be painted on
        return bundle


def _check_count(good: GoodImages, module: Detector) -> None:
    needed = module.INFO.min_images
    if len(good.sources) < needed:
        raise DataError(
            f"{good.name}: {len(good.sources)} good images, {module.INFO.name} needs at least {needed} "
            "(20 for a useful threshold, 39 for 5 % false rejects)" + "".join(f"; {note}" for note in good.notes)
        )


def _laid_straight(request: TrainRequest, good: GoodImages, report: Progress) -> LaidStraight:
    """How parts are laid straight; "auto" leaves them where what is known of them was told of whole pictures."""
    if isinstance(request.align, Alignment):
        return LaidStraight(request.align, "", np.arange(len(good.sources)))
    if request.align == "auto":
        if request.tile is not None:
            return LaidStraight(None, "")
        if request.product.zone is not None and request.product.zone_on is None:
            return LaidStraight(None, "off: there is a zone, and --zone-on does not say which picture it was drawn on")
    return choose_alignment(
        good.sources,
        good.names,
        request.align,
        false_reject=request.wishes.false_reject,
        reading=good.reading,
        threads=request.threads,
        progress=report,
    )


def _with_zone_in_frame(request: TrainRequest, alignment: Alignment) -> TrainRequest:
    product = request.product
    if product.zone is None or isinstance(request.align, Alignment):
        return request
    zone = zone_in_frame(product.zone, product.zone_on, alignment, request.reading)
    return replace(request, product=replace(product, zone=zone))


def _input_hw(
    good: GoodImages,
    request: TrainRequest,
    ask: Callable[[Sequence[Image]], FitRequest[Any]],
    alignment: Alignment | None,
) -> tuple[tuple[int, int], str]:
    """The input size, and why it was chosen where it was."""
    if isinstance(request.size, tuple):
        return request.size, ""
    preset = request.chosen_preset()
    if alignment is None:
        sizes = sizes_of(good.sources, good.reading, threads=request.threads)
    else:
        sizes = [alignment.frame_hw] * len(good.sources)
    if request.size is not None:
        return choose_input_hw(sizes, request.size), ""

    def fitting(size: int) -> tuple[int, int]:
        return choose_input_hw(sizes, size) if alignment is None else frame_input_hw(alignment.frame_hw, size)

    if preset is not None:
        return fitting(size_within(sizes, preset.size)), ""
    if request.info.most_folds <= NUM_FOLDS:
        return fitting(SMALLEST), ""
    blank = np.zeros((SMALLEST, SMALLEST, 3), np.uint8)
    chosen = choose_size(
        good.sources,
        sizes,
        load_detector(request.detector).fit,
        ask([blank]),
        request.max_ms,
        good.reading,
        alignment=alignment,
        fitting=None if alignment is None else fitting,
    )
    return fitting(chosen.size), chosen.reason


def _parts(request: TrainRequest, good: GoodImages, images: Sequence[Image], report: Progress) -> Parts:
    """Which images show one part: as named, or found, or each by itself where blocks are asked for."""
    if request.group_by is not None:
        return Parts(named_groups(good.names, request.group_by))
    if request.calibration == "blocks" or len(images) > MOST_IMAGES:
        return Parts(no_groups(len(images)))
    return find_parts(images, request.wishes.false_reject, threads=request.threads, progress=report)


def _method(request: TrainRequest, images: ResizedImages | None = None) -> Literal["cross", "split"]:
    """How to calibrate: as asked, else as the detector says; of very many images a part is enough."""
    if request.calibration is not None:
        return "split" if request.calibration == "split" else "cross"
    is_large = images is not None and len(images) * images.hw[0] * images.hw[1] > MOST_CROSS_PIXELS
    return "cross" if request.info.calibration == "cross" and not is_large else "split"


@dataclass(frozen=True)
class _Made:
    """A fit, and `found`: scores of the good images at the places `held`, by models that did not see them.

    `pictures` are all good images at the input size, `seen` what the detector was given of them.
    """

    fit: Fit
    found: GoodScores
    held: NDArray[np.intp]
    method: Literal["cross", "split"]
    pictures: ResizedImages
    seen: Sequence[Image]
    tiling: Tiling | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def _folds(request: TrainRequest, groups: Groups) -> tuple[NDArray[np.intp], ...]:
    num_images = len(groups.numbers)
    if request.calibration == "blocks":
        return block_folds(num_images, min(NUM_FOLDS, num_images))
    return group_folds(groups, request.info.most_folds, request.seed)


def _fit(request: TrainRequest, fit_request: FitRequest[Any], images: ResizedImages, groups: Groups) -> _Made:
    module, zone = load_detector(request.detector), request.product.zone
    if _method(request, images) == "cross":
        fit = module.fit(replace(fit_request, folds=_folds(request, groups)))
        assert fit.held_out is not None
        found = scores_inside(fit.held_out, fit.reduction, zone)
        return _Made(fit, found, np.arange(len(images)), "cross", images, seen=images)
    kept, held = holdout_split(groups, CALIBRATION_SHARE, request.seed)
    if len(kept) < module.INFO.min_images or len(held) < 2:
        raise DataError(
            f"{len(images)} good images are too few to keep a part for calibration: "
            "add images or use --calibration cross"
        )
    fit = module.fit(replace(fit_request, images=images.subset(kept)))
    found = score_images(
        fit.graph,
        images.subset(held),
        fit.reduction,
        tiling=None,
        zone=zone,
        threads=request.threads,
        progress=fit_request.report,
    )
    return _Made(fit, found, held, "split", images, seen=images)


def _derives_folds(request: TrainRequest, made: _Made) -> bool:
    """Whether held-out results cost a detector little more than a fit."""
    return made.method == "cross" and made.tiling is None and request.info.most_folds > NUM_FOLDS


def _tile_folds(request: TrainRequest, groups: Groups) -> tuple[NDArray[np.intp], ...]:
    """Folds for tiles, each of which is a fit: few of them."""
    if request.calibration == "blocks":
        return _folds(request, groups)
    return group_folds(groups, NUM_FOLDS, request.seed)


def _fit_tiles(
    request: TrainRequest,
    ask: Callable[[Sequence[Image]], FitRequest[Any]],
    good: GoodImages,
    groups: Groups,
    report: Progress,
) -> _Made:
    assert request.tile is not None
    assert not isinstance(request.size, tuple)
    image_hws = sizes_of(good.sources, good.reading, threads=request.threads)
    tiling, side = make_tiling(request.tile, request.size, image_hws)
    images = ImageFiles(good.sources, good.reading)
    cut = cut_fit_tiles(images, image_hws, tiling, side, report)
    method = _method(request)
    fit, found, held = fit_on_tiles(
        load_detector(request.detector),
        ask(cut.tiles),
        cut,
        images,
        tiling=tiling,
        folds=None if method == "split" else _tile_folds(request, groups),
        held=holdout_split(groups, CALIBRATION_SHARE, request.seed)[1],
        zone=request.product.zone,
    )
    facts = {"num_tiles": len(cut.tiles), "num_possible_tiles": cut.num_possible}
    pictures = ResizedImages(good.sources, (side, side), good.reading, threads=request.threads)
    return _Made(fit, found, held, method, pictures, cut.tiles, tiling, facts)


def _samples(images: Sequence[Image]) -> tuple[bytes, ...]:
    places = np.unique(np.linspace(0, len(images) - 1, NUM_SAMPLES).round().astype(int))
    return tuple(cv2.imencode(".png", images[int(place)][..., ::-1])[1].tobytes() for place in places)


def _backbone_facts(backbone: Backbone) -> BackboneFacts:
    return BackboneFacts(name=backbone.name, sha256=backbone.sha256, licence=backbone.licence, source=backbone.source)


def _versions() -> dict[str, str]:
    packages = ("blemish", "numpy", "onnx", "onnxruntime", "opencv-python-headless")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}
