"""Promised against measured false reject rates and escapes, on test images that no fit and no threshold has seen.

    python benchmarks/promise_on_data.py DATA... -o benchmarks/results/promise_on_data.json \\
        [--detectors patchcore,padim,template] [--methods cross,blocks,split] [--max-ms 50]

DATA are data sets with good and defective test images; "demo" is the demo's solar cells. Each is trained as the command
line does it without options. Rows that the output holds already are kept, so that an interrupted run goes on. A larger
`--max-ms` keeps a busy machine from choosing small inputs; each row says what it took.

- `average` and `limit`: the promised rate on average, and with 95 % confidence.
- `rejected` of `test_good`, with the exact 95 % limits of that rate.
- `chance`: the probability of at least as many rejects if the promise holds (beta-binomial). Small: it is broken here.
- `escape_rate`: the defective test images that are accepted at the threshold.
- `escapes_at_5`: those at the threshold that rejects 5 % of the good test images, which nobody can know beforehand.
- `ks`: the p-value of a Kolmogorov-Smirnov test of the good test images' scores against the good scores.
- `drift`: after how many good test images, in the order of their names, the drift watch raised its alarm, and for
  which condition.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import origin, write_record
from scipy import stats

from blemish.datasets.demo import open_solar_cells
from blemish.datasets.index import DatasetIndex, open_dataset
from blemish.decisions.promise import chance_of_rejects
from blemish.images.decode import read_image
from blemish.images.resize import resize_image
from blemish.inspection.inspector import Inspector
from blemish.metrics.intervals import clopper_pearson
from blemish.schema import DEFECTIVE, GOOD, ImageItem
from blemish.watching.conditions import measure_conditions
from blemish.watching.drift import DriftMonitor
from blemish.workflow.train import TrainRequest, train


def measure(index: DatasetIndex, detector: str, method: Any, max_ms: float | None) -> dict[str, Any]:
    bundle = train(TrainRequest(data=index, detector=detector, calibration=method, max_ms=max_ms))
    inspector = Inspector(bundle)

    def scores(label: int) -> NDArray[np.float64]:
        return np.array([inspector.inspect(item.path).score for item in test_items(index, label)])

    good, defective = scores(GOOD), scores(DEFECTIVE)
    calibration = bundle.calibration
    promise, threshold = calibration.promise, calibration.image_threshold
    rejected = int((good > threshold).sum())
    low, high = clopper_pearson(rejected, len(good))
    known = np.sort(good)[len(good) - 1 - int(0.05 * len(good))]
    return {
        "data": index.name,
        "detector": detector,
        "method": method,
        "input_hw": list(bundle.manifest.input_hw),
        "input_size": bundle.manifest.facts["input_size"],
        "good": promise.num_good,
        "parts": promise.num_parts,
        "average": round(promise.average_rate, 4),
        "limit": round(promise.limit, 4),
        "test_good": len(good),
        "rejected": rejected,
        "limits": [round(low, 4), round(high, 4)],
        "chance": round(chance_of_rejects(rejected, len(good), promise), 4),
        "ks": round(float(stats.ks_2samp(good, calibration.good_scores).pvalue), 4),
        "test_defective": len(defective),
        "escape_rate": round(float((defective <= threshold).mean()), 4),
        "escapes_at_5": round(float((defective <= known).mean()), 4),
        "drift": drift(index, inspector),
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
    parser.add_argument("data", nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--detectors", default="patchcore,padim,template")
    parser.add_argument("--methods", default="cross,blocks,split")
    parser.add_argument("--max-ms", type=float, help="the most that an image may take when its input size is chosen")
    arguments = parser.parse_args()
    output: Path = arguments.output
    rows = json.loads(output.read_text(encoding="utf-8"))["rows"] if output.exists() else []
    done = {(row["data"], row["detector"], row["method"]) for row in rows}
    for place in arguments.data:
        index = open_solar_cells() if place == "demo" else open_dataset(Path(place))
        for detector in arguments.detectors.split(","):
            for method in arguments.methods.split(","):
                if (index.name, detector, method) in done:
                    continue
                rows.append(measure(index, detector, method, arguments.max_ms))
                print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
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
