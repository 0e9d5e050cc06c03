"""Which choices in the default detector bring what, how few good images do, and what defects among them cost.

    python benchmarks/accuracy.py DATA... [-o benchmarks/results/accuracy.json]
        [--parts variants,few,noise] [--variants "default,bank of 1000"]

DATA are folders, or `solar-cells` for the demo's images (extra `demo`). A variant is a few settings of `patchcore` and
a size; "preset fast" and "preset accurate" are what these presets choose. "Lite 1" and "Lite 2" need these backbones,
see docs/backbones.md. Rows that the output holds already are kept, so that an interrupted run goes on.

- `halves`: the image AUROC that choices are made by, which no test image enters. Good training images are cut into two
  random halves: one is fitted on, the other, as it is and with one painted defect in each image, is told apart.
  The mean over two cuts.
- `image_auroc` and the rest: fitted on all good training images, judged on the test images; for the table alone.
- `few`: fitted on the first so many of the shuffled good images, with and without declared symmetries; the mean over
  three shuffles, judged on the test images.
- `noise`: a share of defective test images stands among the good training images; judged on the rest of the test
  images, beside a fit without them. `named` counts those that the check of training images names, and
  `without_named` is the image AUROC once the named images are taken out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import RESULTS, commit, origin, write_record

from blemish.datasets.demo import open_solar_cells
from blemish.datasets.index import DatasetIndex, open_dataset
from blemish.datasets.sequence import ResizedImages, read_image_sizes
from blemish.datasets.split import block_folds
from blemish.decisions.thresholds import suspects
from blemish.detectors.base import FitRequest
from blemish.images.decode import read_image
from blemish.images.mask import read_mask
from blemish.images.resize import choose_input_hw, resize_image, resize_map, resize_mask, size_within
from blemish.metrics.accumulate import PixelAccumulator
from blemish.metrics.evaluate import image_metrics
from blemish.metrics.ranking import auroc
from blemish.registry import DEFAULT_BACKBONE, load_detector
from blemish.runtime.session import Session
from blemish.runtime.threads import usable_cores
from blemish.schema import DEFECTIVE, Fit, Image, ImageItem
from blemish.synthesis.painted import make_defect
from blemish.weights import find_backbone
from blemish.workflow.detector_settings import make_settings


@dataclass(frozen=True)
class Variant:
    size: int = 256
    settings: Mapping[str, Any] = field(default_factory=dict)
    backbone: str = DEFAULT_BACKBONE
    enlarges: bool = True
    """Whether images smaller than the size are enlarged to it; presets don't."""


def preset(name: str) -> Variant:
    chosen = load_detector("patchcore").INFO.presets[name]
    return Variant(chosen.size, chosen.settings, enlarges=False)


SYMMETRIES = ("flip_horizontal", "flip_vertical", "half_turn")
VARIANTS: Mapping[str, Variant] = {
    "default": Variant(),
    "not by position": Variant(settings={"by_position": False}),
    "not whitened": Variant(settings={"whitening": 0.0}),
    "fully whitened": Variant(settings={"whitening": 1.0}),
    "spacing not counted": Variant(settings={"spacing": 0.0}),
    "bank of 1000": Variant(settings={"bank_size": 1000}),
    "bank of 10000": Variant(settings={"bank_size": 10_000}),
    "stride 8 alone": Variant(settings={"layers": "blocks.2"}),
    "stride 16 alone": Variant(settings={"layers": "blocks.4"}),
    "three layers": Variant(settings={"layers": "blocks.2,blocks.3,blocks.4"}),
    "expansion layers": Variant(settings={"layers": "blocks.2.expansion,blocks.4.expansion"}),
    "mirrored copies": Variant(settings={"symmetries": SYMMETRIES}),
    "Lite 1": Variant(backbone="efficientnet-lite1"),
    "Lite 2": Variant(backbone="efficientnet-lite2"),
    "preset fast": preset("fast"),
    "preset accurate": preset("accurate"),
    "384 pixels": Variant(size=384),
}
FEW = (1, 2, 4, 8, 16)
NOISE = (0.05, 0.1)
SOLAR_CELLS = Path("solar-cells")


def fit(
    images: Sequence[Image],
    settings: Mapping[str, Any],
    folds: Sequence[NDArray[np.intp]] = (),
    backbone: str = DEFAULT_BACKBONE,
) -> Fit:
    module = load_detector("patchcore")
    checked = make_settings(module.INFO, settings)
    return module.fit(FitRequest(images=images, settings=checked, backbone=find_backbone(backbone), folds=folds))


def session_of(fit: Fit) -> Session:
    return Session(fit.graph, threads=usable_cores())


def scores(session: Session, images: Sequence[Image]) -> NDArray[np.float64]:
    return np.array([session.predict([image])[0].anomaly_score for image in images])


def variants(index: DatasetIndex, name: str) -> dict[str, Any]:
    variant = VARIANTS[name]
    images, tests = read_set(index, variant.size, variant.enlarges)
    start = time.perf_counter()
    session = session_of(fit(images, variant.settings, backbone=variant.backbone))
    seconds = time.perf_counter() - start
    values, pixels, times = [], PixelAccumulator(resamples=1), []  # no intervals of pixel metrics
    for item, image in zip(index.test, tests, strict=True):
        start = time.perf_counter()
        [found] = session.predict([image])
        times.append(time.perf_counter() - start)
        values.append(found.anomaly_score)
        add_pixels(pixels, item, found.anomaly_map)
    labels = np.array([item.label for item in index.test])
    whole = image_metrics(labels, np.array(values))
    parts = pixels.compute() if any(item.mask_path for item in index.test) else {}
    return {
        "input_hw": list(images[0].shape[:2]),
        "halves": round(float(np.mean([halves(images, variant, seed) for seed in range(2)])), 4),
        "image_auroc": round(whole["image_auroc"], 4),
        "interval": [round(limit, 4) for limit in whole["intervals"]["image_auroc"]],
        **{key: round(parts[key], 4) for key in ("pixel_auroc", "pixel_ap", "aupro_30") if key in parts},
        "fit_seconds": round(seconds, 1),
        "milliseconds": round(1000 * float(np.median(times)), 1),
    }


def halves(images: Sequence[Image], variant: Variant, seed: int) -> float:
    """How well painted defects are told from good images by a fit on the other half."""
    order = np.random.default_rng(seed).permutation(len(images))
    half = len(images) // 2
    fitted, others = np.sort(order[:half]), np.sort(order[half:])[:100]
    session = session_of(fit([images[place] for place in fitted], variant.settings, backbone=variant.backbone))
    good = [images[place] for place in others]
    painted = [make_defect(image, np.random.default_rng((seed, place)))[0] for place, image in enumerate(good)]
    labels = np.repeat([0, 1], len(good))
    return auroc(labels, np.concatenate([scores(session, good), scores(session, painted)]))


def few(index: DatasetIndex, count: int) -> dict[str, Any]:
    images, tests = read_set(index, 256)
    labels = np.array([item.label for item in index.test])
    found: dict[str, list[float]] = {"image_auroc": [], "with_symmetries": []}
    for seed in range(3):
        chosen = np.random.default_rng(seed).permutation(len(images))[:count]
        some = [images[place] for place in chosen]
        for key, settings in (("image_auroc", {}), ("with_symmetries", {"symmetries": SYMMETRIES})):
            found[key].append(auroc(labels, scores(session_of(fit(some, settings)), tests)))
    return {
        key: value
        for name, each in found.items()
        for key, value in ((name, round(float(np.mean(each)), 4)), (f"{name}_least", round(min(each), 4)))
    }


def noise(index: DatasetIndex, share: float) -> dict[str, Any]:
    images, tests = read_set(index, 256)
    defective = [place for place, item in enumerate(index.test) if item.label == DEFECTIVE]
    count = round(share * len(images) / (1 - share))
    added = np.random.default_rng(0).permutation(defective)[:count]
    rest = [place for place in range(len(tests)) if place not in set(added.tolist())]
    labels = np.array([index.test[place].label for place in rest])
    judged = [tests[place] for place in rest]
    order = np.random.default_rng(1).permutation(len(images) + count)
    everything = [*images, *(tests[place] for place in added)]
    mixed = [everything[place] for place in order]
    found = fit(mixed, {}, block_folds(len(mixed), 5))
    assert found.held_out is not None
    named = set(suspects(found.held_out.anomaly_scores))
    kept = [image for place, image in enumerate(mixed) if place not in named]
    return {
        "added": count,
        "clean": round(auroc(labels, scores(session_of(fit(list(images), {})), judged)), 4),
        "image_auroc": round(auroc(labels, scores(session_of(found), judged)), 4),
        "named": int(sum(order[place] >= len(images) for place in named)),
        "named_good": int(sum(order[place] < len(images) for place in named)),
        "without_named": round(auroc(labels, scores(session_of(fit(kept, {})), judged)), 4),
    }


def read_set(index: DatasetIndex, size: int, enlarges: bool = True) -> tuple[Sequence[Image], Sequence[Image]]:
    """Good training images and test images at the input's size."""
    paths = [item.path for item in index.train_good]
    sizes = read_image_sizes(paths)
    hw = choose_input_hw(sizes, size if enlarges else size_within(sizes, size))
    images = ResizedImages(paths, hw)
    return [images[place] for place in range(len(images))], [
        resize_image(read_image(item.path), hw) for item in index.test
    ]


def add_pixels(pixels: PixelAccumulator, item: ImageItem, anomaly_map: NDArray[np.float32]) -> None:
    """The map against the mask at half the map's size: quicker, and the same for all variants of a size."""
    hw = (-(-anomaly_map.shape[0] // 2), -(-anomaly_map.shape[1] // 2))
    mask = None if item.mask_path is None else resize_mask(read_mask(item.mask_path), hw)
    pixels.update(resize_map(anomaly_map, hw), mask, item.label)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "accuracy.json")
    parser.add_argument("--parts", default="variants,few,noise")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    arguments = parser.parse_args()
    unknown = set(arguments.variants.split(",")) - set(VARIANTS)
    if unknown:
        parser.error(f"no variant {', '.join(sorted(unknown))}: there are {', '.join(VARIANTS)}")
    output: Path = arguments.output
    rows = json.loads(output.read_text(encoding="utf-8"))["rows"] if output.exists() else []
    done = {(row["part"], row["data"], str(row["run"])) for row in rows}
    plan = {
        "variants": (variants, arguments.variants.split(",")),
        "few": (few, FEW),
        "noise": (noise, NOISE),
    }
    for part in arguments.parts.split(","):
        measure, runs = plan[part]
        for path in arguments.data:
            index = open_solar_cells() if path == SOLAR_CELLS else open_dataset(path)
            for run in runs:
                if (part, index.name, str(run)) in done:
                    continue
                row = {"part": part, "data": index.name, "run": run, "commit": commit()} | measure(index, run)
                print("  ".join(f"{key} {value}" for key, value in row.items()), file=sys.stderr, flush=True)
                rows.append(row)
                write(output, rows)


def write(output: Path, rows: list[dict[str, Any]]) -> None:
    data = "see docs/data.md for what these sets are and where they come from"
    write_record(output, {**origin(), "data": data, "rows": rows})


if __name__ == "__main__":
    main()
