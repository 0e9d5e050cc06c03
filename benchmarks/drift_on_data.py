"""How many parts pass before the drift watch notices a change of the pictures, on real good images.

    python benchmarks/drift_on_data.py DATA... -o benchmarks/results/drift_on_data.json

For each data set the good training images are put into random orders. Two thirds are the reference of the watch, one
sixth passes unchanged, and the rest passes changed: 10 % darker or brighter, out of focus (Gaussian blur of one pixel
at 256 x 256), moved by six pixels, or, for comparison, not at all. Only the numbers taken of the picture are watched,
not the score, so that the result is the same for every detector. `median` and `slowest` count changed parts up to the
alarm; `alarms` counts the orders with an alarm among the `changed` parts, `false_alarms` those before any change.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from record import origin, write_record

from blemish.datasets.index import open_dataset
from blemish.images.decode import read_image
from blemish.images.resize import resize_image
from blemish.schema import Image
from blemish.watching.conditions import good_conditions, measure_conditions
from blemish.watching.drift import DriftMonitor

NUM_ORDERS = 10


def scaled(factor: float) -> Callable[[Image], Image]:
    return lambda image: np.clip(image * factor + 0.5, 0, 255).astype(np.uint8)


def moved(image: Image) -> Image:
    shift = np.array([[1, 0, 6], [0, 1, 0]], np.float32)
    size = (image.shape[1], image.shape[0])
    return np.asarray(cv2.warpAffine(image, shift, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)


CHANGES: dict[str, Callable[[Image], Image]] = {
    "none": lambda image: image,
    "10 % darker": scaled(0.9),
    "10 % brighter": scaled(1.1),
    "out of focus": lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), 1.0), np.uint8),
    "moved by 6 pixels": moved,
}


def measure(name: str, images: list[Image]) -> list[dict[str, Any]]:
    unchanged = [measure_conditions(image, 0.0) for image in images]
    rows = []
    for change, apply in CHANGES.items():
        changed = [measure_conditions(apply(image), 0.0) for image in images]
        found, conditions, false_alarms = [], [], 0
        cut, middle = len(images) * 2 // 3, len(images) * 5 // 6
        for seed in range(NUM_ORDERS):
            order = np.random.default_rng(seed).permutation(len(images))
            monitor = DriftMonitor(good_conditions([0.0] * cut, [unchanged[place][1:] for place in order[:cut]]))
            reports = [monitor.update(unchanged[place]) for place in order[cut:middle]]
            false_alarms += reports[-1].is_void
            for number, place in enumerate(order[middle:], start=1):
                report = monitor.update(changed[place])
                if report.is_void:
                    found.append(number)
                    conditions.append(report.condition)
                    break
        rows.append(
            {
                "data": name,
                "change": change,
                "reference": cut,
                "changed": len(images) - middle,
                "orders": NUM_ORDERS,
                "alarms": len(found),
                "median": median(found) if found else None,
                "slowest": max(found, default=None),
                "conditions": sorted(set(conditions)),
                "false_alarms": false_alarms,
            }
        )
        print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    rows = []
    for path in arguments.data:
        index = open_dataset(path)
        rows += measure(index.name, [resize_image(read_image(item.path), (256, 256)) for item in index.train_good])
    record = {
        **origin(),
        "data": "good training images of " + ", ".join(dict.fromkeys(row["data"] for row in rows)),
        "rows": rows,
    }
    write_record(arguments.output, record)


if __name__ == "__main__":
    main()
