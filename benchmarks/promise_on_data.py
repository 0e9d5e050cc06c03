"""Promised against measured false reject rates on good test images that no fit and no threshold has seen.

    python benchmarks/promise_on_data.py DATA... -o benchmarks/results/promise_on_data.json \
        [--detectors patchcore,padim,template]

DATA are data sets with good test images. Each detector is trained with its default settings at 256 pixels and is
calibrated by cross-fitting and by a split, for wanted false reject rates of 5 % and 1 % with 95 % confidence. Rows that
the output holds already are kept, so that an interrupted run goes on.

- `promised`: the rate that the good images support (the wanted one where they are enough).
- `rejected` of `test_good`, with the exact 95 % limits of that rate.
- `chance`: the probability of at least as many rejects if the true rate were the promised one. Small: the promise is
  broken on these images.
- `ks`: the p-value of a Kolmogorov-Smirnov test of the good test images' scores against the good scores. Small: the
  test images do not look like those the promise was made for.
- `drift`: after how many good test images, in the order of their names, the drift watch raised its alarm, and for
  which condition.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from record import origin, write_record
from scipy import stats

from blemish.datasets.index import DatasetIndex, open_dataset
from blemish.decisions.thresholds import recalibrate
from blemish.decisions.wishes import CalibrationSettings
from blemish.images.decode import read_image
from blemish.images.resize import resize_image
from blemish.inspection.inspector import Inspector
from blemish.metrics.intervals import clopper_pearson
from blemish.schema import DEFECTIVE, GOOD, Calibration, ImageItem
from blemish.watching.conditions import measure_conditions
from blemish.watching.drift import DriftMonitor
from blemish.workflow.train import TrainRequest, train

WANTED = (0.05, 0.01)


def measure(index: DatasetIndex, detector: str, method: Any) -> list[dict[str, Any]]:
    """A row for each wanted rate."""
    bundle = train(TrainRequest(data=index, detector=detector, calibration=method))
    inspector = Inspector(bundle)

    def scores(label: int) -> list[float]:
        return [inspector.inspect(item.path).score for item in test_items(index, label)]

    good, defective = scores(GOOD), scores(DEFECTIVE)
    watched = drift(index, inspector)
    return [
        {"data": index.name, "detector": detector, "method": method, "wanted": wanted}
        | judged(recalibrate(bundle.calibration, CalibrationSettings(false_reject=wanted)), good, defective)
        | {"drift": watched}
        for wanted in WANTED
    ]


def judged(calibration: Calibration, good: list[float], defective: list[float]) -> dict[str, Any]:
    """What was promised and what came out on test images with these scores."""
    promise = calibration.promise
    promised = promise.wanted_rate if promise.is_kept else promise.rate
    rejected = sum(score > calibration.image_threshold for score in good)
    low, high = clopper_pearson(rejected, len(good))
    return {
        "good": promise.num_good,
        "promised": round(promised, 4),
        "expected": round(promise.expected_rate, 4),
        "test_good": len(good),
        "rejected": rejected,
        "limits": [round(low, 4), round(high, 4)],
        "chance": round(float(stats.binom.sf(rejected - 1, len(good), promised)), 4),
        "ks": round(float(stats.ks_2samp(good, calibration.good_scores).pvalue), 4),
        "test_defective": len(defective),
        "escape_rate": round(sum(score <= calibration.image_threshold for score in defective) / len(defective), 4),
    }


def test_items(index: DatasetIndex, label: int) -> list[ImageItem]:
    return [item for item in index.items if item.split == "test" and item.label == label]


def drift(index: DatasetIndex, inspector: Inspector) -> str:
    if not inspector.bundle.calibration.conditions:
        return "not watched"
    monitor = DriftMonitor(inspector.bundle.calibration.conditions)
    for item in test_items(index, GOOD):
        image = resize_image(read_image(item.path), inspector.session.input_hw)
        [prediction] = inspector.session.predict([image])
        report = monitor.update(measure_conditions(image, prediction.anomaly_score))
        if report.is_void:
            return f"{report.condition} after {report.num_parts}"
    return "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--detectors", default="patchcore,padim,template")
    arguments = parser.parse_args()
    output: Path = arguments.output
    rows = json.loads(output.read_text(encoding="utf-8"))["rows"] if output.exists() else []
    done = {(row["data"], row["detector"], row["method"]) for row in rows}
    for path in arguments.data:
        index = open_dataset(path)
        for detector in arguments.detectors.split(","):
            for method in ("cross", "split"):
                if (index.name, detector, method) in done:
                    continue
                rows.extend(measure(index, detector, method))
                for row in rows[-len(WANTED) :]:
                    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
                write(output, rows)


def write(output: Path, rows: list[dict[str, Any]]) -> None:
    record = {
        **origin(),
        "data": "see docs/data.md for what these sets are and where they come from",
        "confidence": 0.95,
        "rows": rows,
    }
    write_record(output, record)


if __name__ == "__main__":
    main()
