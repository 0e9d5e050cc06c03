"""Which input size training chooses, how surely, and what an image takes at each.

    python benchmarks/input_size.py DATA... -o benchmarks/results/input_size.json [--seeds 3] [--max-ms 50]

DATA are data sets; "demo" is the demo's solar cells. Only good training images are read. For each seed, which draws the
images of the trial and the defects painted on them: the share of small painted defects found at each size that was
tried, milliseconds for one image, and the choice. A size that is not listed was not tried: the largest did no better,
or the images are smaller. Larger `--max-ms` show what a faster machine would choose.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from record import origin, write_record

from blemish.datasets.demo import open_solar_cells
from blemish.datasets.index import DatasetIndex, open_dataset
from blemish.datasets.sequence import sizes_of
from blemish.detectors.base import FitRequest
from blemish.registry import DEFAULT_BACKBONE, DEFAULT_DETECTOR, load_detector
from blemish.weights import find_backbone
from blemish.workflow.detector_settings import make_settings
from blemish.workflow.input_size import choose_size

BLANK = np.zeros((256, 256, 3), np.uint8)


def measure(index: DatasetIndex, seed: int, max_ms: float | None) -> dict[str, Any]:
    detector = load_detector(DEFAULT_DETECTOR)
    request = FitRequest[Any](
        images=[BLANK],
        settings=make_settings(detector.INFO, {}),
        backbone=find_backbone(DEFAULT_BACKBONE),
        seed=seed,
    )
    start = time.perf_counter()
    good = [item.path for item in index.train_good]
    chosen = choose_size(good, sizes_of(good), detector.fit, request, max_ms)
    return {
        "data": index.name,
        "seed": seed,
        "chosen": chosen.size,
        "reason": chosen.reason,
        "tried": [
            {"input_hw": list(one.input_hw), "milliseconds": one.milliseconds, "found": one.found}
            for one in chosen.tried
        ],
        "seconds": round(time.perf_counter() - start, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-ms", type=float, help="the most that an image may take; by default as in training")
    arguments = parser.parse_args()
    rows = []
    for place in arguments.data:
        index = open_solar_cells() if place == "demo" else open_dataset(Path(place))
        for seed in range(arguments.seeds):
            rows.append(measure(index, seed, arguments.max_ms))
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    data = "see docs/data.md for what these sets are and where they come from"
    write_record(arguments.output, {**origin(), "data": data, "max_ms": arguments.max_ms, "rows": rows})


if __name__ == "__main__":
    main()
