"""Good images -> bundle: index, fit, calibration."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.bundle.bundle import Bundle
from blemish.bundle.manifest import FORMAT_VERSION, BackboneFacts, DataFacts, Manifest
from blemish.calibration.calibrate import suspects
from blemish.calibration.settings import CalibrationSettings
from blemish.data.decode import as_image
from blemish.data.index import DatasetIndex, open_dataset
from blemish.data.resize import RESIZE_RULE, choose_input_hw
from blemish.data.sequence import ResizedImages, find_unreadable, read_image_sizes
from blemish.data.split import contiguous_folds, holdout_split
from blemish.detectors.base import Detector, DetectorInfo, FitFunction
from blemish.errors import DataError, ImageError, SettingsError
from blemish.registry import DEFAULT_BACKBONE, DEFAULT_DETECTOR, load_detector
from blemish.schema import DEFECTIVE, Backbone, Fit, HeldOut, Image, Progress, silent
from blemish.weights import find_backbone
from blemish.workflow.calibrate import ProductFacts, calibrate_held_out, run_graph, short_hashes
from blemish.workflow.defects import fit_with, labelled_defects
from blemish.workflow.memory import peak_memory_mb
from blemish.workflow.settings import make_settings, settings_json

NUM_FOLDS = 5
CALIBRATION_SHARE = 0.25
NUM_SAMPLES = 8
"""Good images kept in the bundle, to check engines and exports with."""

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
    size: Size = 256,
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

    `size` is the shorter side of the graph's input in pixels, the longer one follows the median shape of the images;
    or (height, width). Test images of `data` are never read. Good images whose held-out score lies far above the rest
    are named in the manifest's facts under "suspicious". With `with_defects` half of the labelled defects of `data` are
    learned from, by detectors that can; an evaluation leaves these out.
    """
    module = load_detector(detector)
    checked = make_settings(module.INFO, settings or {})
    network = find_backbone(backbone) if module.INFO.needs_backbone else None
    good = good_images(data, skip_unreadable=skip_unreadable, progress=progress)
    _check_count(good, module)
    start = time.perf_counter()
    try:
        images = ResizedImages(good.sources, _input_hw(good.sources, size))
        defects = labelled_defects(data, seed) if with_defects else ()
        fit_function = fit_with(module, defects, images.hw)
        fit, held_out, places, method = _fit(
            module.INFO, fit_function, checked, images, network, seed, calibration, progress
        )
    except ImageError as error:
        raise _explain_unreadable(good.sources, progress) from error
    seconds = time.perf_counter() - start
    graph_sha256 = hashlib.sha256(fit.graph).hexdigest()
    held = [int(place) for place in places]
    thresholds = calibrate_held_out(
        held_out,
        images,
        fit.reduction,
        graph_sha256=graph_sha256,
        method=method,
        settings=calibration_settings,
        product=product or ProductFacts(),
    )
    far = [good.names[held[place]] for place in suspects(held_out.anomaly_scores)]
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        detector=detector,
        settings=settings_json(module.INFO, checked),
        seed=seed,
        input_hw=images.hw,
        resize_rule=RESIZE_RULE,
        reduction=fit.reduction,
        backbone=None if network is None else _backbone_facts(network),
        data=DataFacts(
            name=good.name,
            fingerprint=good.fingerprint,
            num_fit=len(images) if method == "cross" else len(images) - len(held_out.anomaly_scores),
            num_calibration=len(held_out.anomaly_scores),
            image_sha256=short_hashes(
                [
                    *(source for source in good.sources if isinstance(source, Path)),
                    *(item.path for item in defects),
                ]
            ),
        ),
        facts={
            **fit.facts,
            "fit_seconds": round(seconds, 3),
            "peak_memory_mb": peak_memory_mb(),
            "skipped": list(good.skipped),
            "suspicious": far,
            "notes": [*good.notes, *fit.facts.get("notes", [])],
        },
        versions=_versions(),
    )
    return Bundle(manifest, fit.graph, thresholds, samples=_samples(images))


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
        )


def _input_hw(sources: Sequence[Path | Image], size: Size) -> tuple[int, int]:
    if isinstance(size, tuple):
        if min(size) < 32 or any(side % 32 for side in size):
            raise SettingsError(f"size {size[0]}x{size[1]}: both sides must be multiples of 32, for example 256x640")
        return size
    paths = [source for source in sources if isinstance(source, Path)]
    shapes = [(source.shape[0], source.shape[1]) for source in sources if not isinstance(source, Path)]
    return choose_input_hw([*read_image_sizes(paths), *shapes], size)


def _fit(
    info: DetectorInfo,
    fit_function: FitFunction,
    settings: Any,
    images: ResizedImages,
    backbone: Backbone | None,
    seed: int,
    calibration: Literal["cross", "split"] | None,
    progress: Progress,
) -> tuple[Fit, HeldOut, NDArray[np.intp], Literal["cross", "split"]]:
    """The fit, results on good images by a model that did not see them, the places of these, and how they were got."""
    if (calibration or info.calibration) == "cross":
        folds = contiguous_folds(len(images), min(NUM_FOLDS, len(images)))
        fit = fit_function(images, settings, backbone=backbone, seed=seed, folds=folds, progress=progress)
        assert fit.held_out is not None
        return fit, fit.held_out, np.arange(len(images)), "cross"
    kept, held = holdout_split(len(images), CALIBRATION_SHARE, seed)
    if len(kept) < info.min_images or len(held) < 2:
        raise DataError(
            f"{len(images)} good images are too few to keep a part for calibration: "
            "add images or use --calibration cross"
        )
    part = images.subset(kept)
    fit = fit_function(part, settings, backbone=backbone, seed=seed, folds=(), progress=progress)
    return fit, run_graph(fit.graph, images.subset(held), progress), held, "split"


def _samples(images: Sequence[Image]) -> tuple[bytes, ...]:
    places = np.unique(np.linspace(0, len(images) - 1, NUM_SAMPLES).round().astype(int))
    return tuple(cv2.imencode(".png", images[int(place)][..., ::-1])[1].tobytes() for place in places)


def _backbone_facts(backbone: Backbone) -> BackboneFacts:
    return BackboneFacts(name=backbone.name, sha256=backbone.sha256, licence=backbone.licence, source=backbone.source)


def _versions() -> dict[str, str]:
    packages = ("blemish", "numpy", "onnx", "onnxruntime", "opencv-python-headless")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}
