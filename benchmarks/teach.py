"""What a bundle gains from shown defects, and what it loses: the test images that were not shown, before and after.

    python benchmarks/teach.py DATA... --cache FOLDER [-o benchmarks/results] [--draws 5] [--scenario NAME]

Each data set is trained once at 256 pixels; embeddings and held-out maps are kept in the cache folder (float16). Each
draw then chooses defects at random, shows them with their masks, and judges all other test images at the default
threshold (5 % false rejects), before and after. Test images have no say in any choice. `auroc`, `escapes` and
`false_rejects` are means over the draws, with a 95 % interval of the mean (Student's t). Scenarios: `10` shows ten
defects of all kinds; `10-without-masks` hides their masks; `10-without-crack` shows ten of all other kinds and judges
the defects of that kind alone.

Parts are not laid straight, and each image counts as a part of its own. Writes `teach.json` after each draw. Draws that
it holds are not measured again: remove the file to begin anew.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import RESULTS, origin, write_record

import blemish.detectors.patchcore as patchcore
from blemish.datasets.index import open_dataset
from blemish.datasets.mask_fit import MaskReader
from blemish.datasets.sequence import ResizedImages, sizes_of
from blemish.decisions.thresholds import calibrate
from blemish.detectors.base import Defects, FitRequest
from blemish.detectors.features import deepest_layers
from blemish.detectors.patch_network import Seen, finest_grid
from blemish.detectors.taught import joined, learn_shown
from blemish.graph.embedding import PackedLayer, build_packed_embedding, packed_layers
from blemish.graph.grid import Grid, cell_grid, on_grid
from blemish.images.resize import resize_mask
from blemish.metrics.ranking import auroc
from blemish.runtime.onnx_runner import GraphRunner
from blemish.schema import DEFECTIVE, HeldOut
from blemish.workflow.train import TrainRequest, train

SCENARIOS = {
    "kolektorsdd": ("3", "10", "20", "20-without-masks"),
    "magnetic_tile": ("10", "25", "20", "20-without-masks"),
    "mvtec_pill": ("10", "20", "20-without-masks"),
    "mvtec_bottle": ("10",),
    "wood_gear": ("10",),
}
"""Beside these each kind of a set with several is left out once, with ten shown of the others."""
T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
"""Quantiles of Student's t for the 95 % interval of the mean of so many draws."""


@dataclass(frozen=True)
class Prepared:
    """A trained data set: packed embeddings and unsupervised maps of good images, held out, and of test images."""

    name: str
    layers: tuple[PackedLayer, ...]
    hw: tuple[int, int]
    good: NDArray[np.float16]
    good_maps: NDArray[np.float16]
    test: NDArray[np.float16]
    test_maps: NDArray[np.float16]
    masks: NDArray[np.bool_]
    label: NDArray[np.intp]
    kind: NDArray[np.str_]
    fold: NDArray[np.intp]


def prepare(data: Path, cache: Path) -> Prepared:
    """The data set, from the cache where it holds it."""
    path = cache / f"{data.name}.npz"
    if not path.exists():
        np.savez(path, **_measured(data))
    with np.load(path) as stored:
        layers = tuple(
            PackedLayer(slice(int(a), int(b)), Grid((int(rows), int(columns)), stride, first), int(channels))
            for a, b, rows, columns, channels, stride, first in stored["layers"]
        )
        names = ("eg", "ug", "et", "ut", "masks", "label")
        values = [stored[name] for name in names]
        kind = np.where(stored["label"] == DEFECTIVE, stored["kind"], "good")
        height, width = stored["hw"]
        return Prepared(data.name, layers, (int(height), int(width)), *values, kind, stored["fold"])


def _measured(data: Path) -> dict[str, Any]:
    """What the cache holds. The fit is seen by a function put in place of the detector's."""
    kept: list[Any] = []
    fit = patchcore.fit

    def keeping(request: FitRequest[Any]) -> Any:
        kept[:] = [request, fit(request)]
        return kept[1]

    patchcore.fit = keeping
    try:
        train(TrainRequest(data=data, size=256, align="off"))
    finally:
        patchcore.fit = fit
    request, made = kept
    hw, layers = request.input_hw, deepest_layers(request.backbone, (8, 16))
    embedder = GraphRunner(build_packed_embedding(request.backbone, layers, hw, 3), threads=2)
    detector = GraphRunner(made.graph, threads=2)
    items = open_dataset(data).test
    reader, sizes = MaskReader(items), sizes_of([item.path for item in items])
    masks = []
    for item, size in zip(items, sizes, strict=True):
        mask = reader.read(item, size) if item.label == DEFECTIVE else None
        masks.append(np.zeros(hw, np.bool_) if mask is None else resize_mask(mask, hw))
    test = ResizedImages(tuple(item.path for item in items), hw)
    fold = np.zeros(len(request.images), np.intp)
    for number, places in enumerate(request.folds):
        fold[places] = number

    def embed(images: Iterable[Any]) -> NDArray[np.float16]:
        return np.stack([embedder.run({"image": one[None]})["embedding"][0] for one in images]).astype(np.float16)

    packed = packed_layers(request.backbone, layers, hw)
    return {
        "hw": hw,
        "eg": embed(request.images),
        "et": embed(test),
        "ug": made.held_out.anomaly_maps.astype(np.float16),
        "ut": np.stack([detector.run({"image": one[None]})["anomaly_map"][0] for one in test]).astype(np.float16),
        "masks": np.stack(masks),
        "label": np.array([item.label for item in items]),
        "kind": np.array([item.defect_type for item in items]),
        "fold": fold,
        "layers": np.array(
            [
                (one.places.start, one.places.stop, *one.grid.hw, one.channels, one.grid.stride, one.grid.first)
                for one in packed
            ]
        ),
    }


def scenarios_of(prepared: Prepared) -> tuple[str, ...]:
    kinds = sorted(set(prepared.kind) - {"good"})
    left_out = tuple(f"10-without-{kind}" for kind in kinds) if len(kinds) > 1 else ()
    return SCENARIOS.get(prepared.name, ("10",)) + left_out


def measure(prepared: Prepared, scenario: str, draw: int) -> dict[str, float]:
    """One draw: the figures before and after the teaching."""
    found = re.fullmatch(r"(\d+)(?:-without-(.+))?", scenario)
    assert found is not None
    hidden = found[2] == "masks"
    left_out = None if hidden else found[2]
    defective = np.flatnonzero(prepared.label == DEFECTIVE)
    pool = defective if left_out is None else defective[prepared.kind[defective] != left_out]
    rng = np.random.default_rng((draw, *scenario.removesuffix("-without-masks").encode()))
    shown = np.sort(rng.choice(pool, min(int(found[1]), len(pool) - 1), replace=False))
    judged = np.setdiff1d(defective, shown) if left_out is None else np.flatnonzero(prepared.kind == left_out)
    masks = [None if hidden or not prepared.masks[one].any() else prepared.masks[one] for one in shown]
    blank = np.zeros((*prepared.hw, 3), np.uint8)
    request = FitRequest(
        images=[blank] * len(prepared.good), settings=None, defects=Defects([blank] * len(shown), masks), threads=2
    )
    good_maps = prepared.good_maps.astype(np.float32)
    held_out = HeldOut(good_maps.max(axis=(1, 2)), good_maps)
    folds = [np.flatnonzero(prepared.fold == number) for number in range(prepared.fold.max() + 1)]
    start = time.perf_counter()
    learned = learn_shown(
        request,
        prepared.layers,
        held_out,
        folds,
        lambda place: prepared.good[place].astype(np.float32),
        prepared.test[shown].astype(np.float32),
        prepared.test_maps[shown].astype(np.float32),
    )
    seconds = time.perf_counter() - start
    fine, pixels = finest_grid(prepared.layers), cell_grid(prepared.hw, 1)
    after_good = joined(learned, learned.good, good_maps, fine).anomaly_scores
    wanted = np.concatenate([np.flatnonzero(prepared.label != DEFECTIVE), judged])
    scores = np.zeros((2, len(prepared.test)))
    for place in wanted:
        anomaly_map = prepared.test_maps[place].astype(np.float32)
        seen = Seen(prepared.test[place].astype(np.float32), on_grid(anomaly_map, pixels, fine))
        evidence = learned.network.evidence(seen, prepared.layers)[None]
        scores[0, place] = anomaly_map.max()
        scores[1, place] = joined(learned, evidence, anomaly_map[None], fine).anomaly_scores[0]
    figures: dict[str, float] = {"seconds": seconds}
    for when, row, good in (("before", scores[0], held_out.anomaly_scores), ("after", scores[1], after_good)):
        threshold = calibrate(good, good, graph_sha256="0", method="cross").image_threshold
        of_good, of_defects = row[prepared.label != DEFECTIVE], row[judged]
        labels = np.repeat([0, 1], [len(of_good), len(of_defects)])
        figures[f"auroc_{when}"] = float(auroc(labels, np.concatenate([of_good, of_defects])))
        figures[f"escapes_{when}"] = float((of_defects <= threshold).mean())
        figures[f"false_rejects_{when}"] = float((of_good > threshold).mean())
    return figures


def summary(prepared: Prepared, scenario: str, draws: Sequence[dict[str, float]]) -> dict[str, Any]:
    row: dict[str, Any] = {"name": prepared.name, "scenario": scenario, "num_draws": len(draws), "draws": list(draws)}
    for name in draws[0]:
        values = [one[name] for one in draws]
        row[name] = round(statistics.fmean(values), 4)
        if len(values) > 1:
            half = T_95[min(len(values), 10)] * statistics.stdev(values) / math.sqrt(len(values))
            row[f"{name}_interval"] = [round(row[name] - half, 4), round(row[name] + half, 4)]
    if len(draws) > 1:
        gains = [one["auroc_after"] - one["auroc_before"] for one in draws]
        half = T_95[min(len(gains), 10)] * statistics.stdev(gains) / math.sqrt(len(gains))
        row["auroc_gain_interval"] = [
            round(statistics.fmean(gains) - half, 4),
            round(statistics.fmean(gains) + half, 4),
        ]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--scenario", action="append", help="only these")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    path = arguments.output / "teach.json"
    for data in arguments.data:
        prepared = prepare(data, arguments.cache)
        for scenario in arguments.scenario or scenarios_of(prepared):
            draws: list[dict[str, float]] = []
            rows = json.loads(path.read_text())["rows"] if path.exists() else []
            for row in rows:
                if (row["name"], row["scenario"]) == (data.name, scenario):
                    draws = row["draws"]
            rows = [row for row in rows if (row["name"], row["scenario"]) != (data.name, scenario)]
            while len(draws) < arguments.draws:
                draws.append(measure(prepared, scenario, len(draws)))
                made = summary(prepared, scenario, draws)
                print(json.dumps(made), flush=True)
                ordered = sorted([*rows, made], key=lambda row: (row["name"], row["scenario"]))
                write_record(path, {**origin("blemish", "numpy", "onnxruntime"), "rows": ordered})


if __name__ == "__main__":
    main()
