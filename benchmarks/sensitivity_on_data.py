"""How far do painted defects predict real ones? Real defects binned by size beside the curves of painted ones.

    python benchmarks/sensitivity_on_data.py DATA... -o benchmarks/results/sensitivity_on_data.json [--boxes NAME]

Each data set is trained at 256 pixels with default settings; no test image has a say in it. Of sets without masks, or
with boxes for masks (--boxes), only the painted defects are measured. Rows that the output holds already are kept, so
that an interrupted run goes on.

- `share_found`: of all painted defects, on training images; `share_found_new`: on good test images.
- `cpu_seconds`: what the measurement on training images took, summed over the cores.
- `log_likelihoods`: of the curves over size and strength, and over size and contrast in gray levels.
- `bins`: real defective images by the diameter of the disc that has the area of their largest defect, in pixels: how
  many, how many were rejected with the exact 95 % limits of that share, and what the curves of painted defects of each
  strength say for the same sizes and shapes (mean over the images). Long thin defects are compared with scratches of
  their width, others with the mean of spots, missing pieces and texture. Sizes beyond the painted ones count as the
  largest painted.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from record import origin, write_record

from blemish.bundle.bundle import Bundle
from blemish.datasets.index import DatasetIndex, open_dataset
from blemish.decisions.logistic import fit_logistic
from blemish.decisions.rules import SCRATCH_ELONGATION
from blemish.decisions.sensitivity import STRENGTHS, DetectionCurve, detection_curves, sensitivity_sentence
from blemish.images.mask import read_mask
from blemish.inspection.inspector import Inspector
from blemish.metrics.intervals import clopper_pearson
from blemish.schema import DEFECTIVE, GOOD, ImageItem, Mask
from blemish.synthesis.graded import surface_contrast
from blemish.workflow.sensitivity import Measurement, SensitivityRequest, measure_sensitivity
from blemish.workflow.train import TrainRequest, train

EDGES_PX = (0, 8, 16, 32, 64, 128, math.inf)


@dataclass(frozen=True)
class RealDefect:
    """The largest defect of an image: its equivalent diameter, and its width where it is long and thin."""

    diameter_px: float
    width_px: float | None
    is_found: bool


def measure(index: DatasetIndex, has_masks: bool) -> dict[str, Any]:
    """One row of the results."""
    bundle = train(TrainRequest(data=index, size=256, with_sensitivity=False))
    start = time.process_time()
    measured = painted_on(bundle, index.train_good)
    cpu_seconds = time.process_time() - start
    on_new = painted_on(bundle, test_items(index, GOOD))
    curves = detection_curves(measured.sensitivity.trials)
    defective = test_items(index, DEFECTIVE) if has_masks else []
    inspector = Inspector(bundle)
    real = [defect for item in defective if (defect := real_defect(item, inspector))]
    return {
        "data": index.name,
        "input_hw": bundle.manifest.input_hw,
        "sentence": sensitivity_sentence(measured.sensitivity),
        "sentence_new": sensitivity_sentence(on_new.sensitivity),
        "num_painted": len(measured.sensitivity.trials),
        "share_found": round(measured.sensitivity.share_found, 4),
        "share_found_new": round(on_new.sensitivity.share_found, 4),
        "cpu_seconds": round(cpu_seconds, 2),
        "log_likelihoods": likelihoods(measured),
        "bins": [
            bin_row(chosen, curves, low, high)
            for low, high in pairwise(EDGES_PX)
            if (chosen := [defect for defect in real if low <= defect.diameter_px < high])
        ],
    }


def painted_on(bundle: Bundle, items: Sequence[ImageItem]) -> Measurement:
    """The whole plan, however long it takes."""
    paths = [item.path for item in items]
    return measure_sensitivity(bundle, SensitivityRequest(good=paths, most_seconds=math.inf))


def test_items(index: DatasetIndex, label: int) -> list[ImageItem]:
    return [item for item in index.items if item.split == "test" and item.label == label]


def real_defect(item: ImageItem, inspector: Inspector) -> RealDefect | None:
    """None where the image has no mask, or an empty one."""
    if item.mask_path is None:
        return None
    mask = read_mask(item.mask_path)
    if not mask.any():
        return None
    diameter, width = largest_defect(mask)
    return RealDefect(diameter, width, inspector.inspect(item.path).decision == "reject")


def largest_defect(mask: Mask) -> tuple[float, float | None]:
    """Equivalent diameter of the largest connected part, and its mean width where it is a scratch."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    largest = 1 + int(stats[1:count, cv2.CC_STAT_AREA].argmax())
    area = float(stats[largest, cv2.CC_STAT_AREA])
    points = np.argwhere(labels == largest)[:, ::-1].astype(np.int32)
    (_, _), sides, _ = cv2.minAreaRect(points)
    length = max(sides) + 1
    is_long = math.pi / 4 * length**2 / area >= SCRATCH_ELONGATION
    return math.sqrt(4 * area / math.pi), area / length if is_long else None


def predicted(defect: RealDefect, curves: tuple[DetectionCurve, ...], strength: float) -> float:
    """The probability of a find that painted defects of the same size and shape have."""

    def at(curve: DetectionCurve, size: float) -> float:
        return curve.probability(min(max(size, curve.smallest_px), curve.largest_px), strength)

    if defect.width_px is not None:
        return next(at(curve, defect.width_px) for curve in curves if curve.kind == "scratch")
    return float(np.mean([at(curve, defect.diameter_px) for curve in curves if curve.kind != "scratch"]))


def bin_row(defects: list[RealDefect], curves: tuple[DetectionCurve, ...], low: float, high: float) -> dict[str, Any]:
    num_found = sum(defect.is_found for defect in defects)
    return {
        "low_px": low,
        "high_px": None if math.isinf(high) else high,
        "num_real": len(defects),
        "num_found": num_found,
        "limits": [round(limit, 4) for limit in clopper_pearson(num_found, len(defects))],
        "painted": {
            name: round(float(np.mean([predicted(defect, curves, strength) for defect in defects])), 4)
            for name, strength in STRENGTHS.items()
        },
    }


def likelihoods(measured: Measurement) -> dict[str, float]:
    """Summed over the kinds: which explains finds better, the strength or the contrast in gray levels."""
    totals = {"strength": 0.0, "gray levels": 0.0}
    trials = measured.sensitivity.trials
    contrasts = []
    for planned in measured.planned:
        canvas = measured.canvases[planned.canvas]
        place = canvas.place(planned.place_share, planned.jitter)
        contrasts.append(planned.defect.strength * surface_contrast(canvas.image, place))
    for kind in {trial.kind for trial in trials}:
        chosen = [number for number, trial in enumerate(trials) if trial.kind == kind]
        hits = [trials[number].is_found for number in chosen]
        for name, values in (("strength", [trial.strength for trial in trials]), ("gray levels", contrasts)):
            points = [(math.log(trials[number].size_px), math.log(values[number])) for number in chosen]
            totals[name] += fit_logistic(points, hits).log_likelihood
    return {name: round(value, 1) for name, value in totals.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--boxes", nargs="*", default=(), help="names of sets whose masks are boxes")
    arguments = parser.parse_args()
    output: Path = arguments.output
    rows = json.loads(output.read_text(encoding="utf-8"))["rows"] if output.exists() else []
    for path in arguments.data:
        index = open_dataset(path)
        if index.name in {row["data"] for row in rows}:
            continue
        rows.append(measure(index, index.name not in arguments.boxes))
        print(json.dumps(rows[-1]), flush=True)
        about = "see docs/data.md for what these sets are and where they come from"
        write_record(output, {**origin(), "data": about, "rows": rows})


if __name__ == "__main__":
    main()
