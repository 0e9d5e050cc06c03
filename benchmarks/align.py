"""What laying parts straight brings: drawn screws in any pose, with and without; and what "auto" decides on real sets.

    python benchmarks/align.py [DATA/mvtec_bottle ...] -o benchmarks/results

The screws are drawn by code (`blemish.testing.screws`): thread, head and shank, any pose on a plain ground, uneven
light, and five kinds of small defects. They are cleaner than photographs: the difference counts, not the level. Each
draw is another set of images. "not_found" are good test images put up for review since the part was not found. Escapes
are defective images that are accepted. DATA are labelled data sets; only their good training images are read.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from record import RESULTS, origin, write_record

from blemish.alignment.frame import straighten
from blemish.datasets.index import open_dataset
from blemish.images.decode import read_image
from blemish.inspection.inspector import Inspector
from blemish.schema import Align
from blemish.testing.screws import write_screws
from blemish.workflow.evaluate import evaluate
from blemish.workflow.laying_straight import choose_alignment
from blemish.workflow.train import TrainRequest, train

SIDE, NUM_GOOD, NUM_TEST_GOOD, NUM_OF_EACH = 512, 60, 40, 8


def measure(data: Path, align: Align, seed: int) -> dict[str, Any]:
    start = time.perf_counter()
    bundle = train(TrainRequest(data=data, align=align, seed=seed))
    fit_seconds = time.perf_counter() - start
    evaluation = evaluate(Inspector(bundle), data)
    metrics = evaluation.metrics
    defective = [result for result in evaluation.results if result.label == 1]
    good = [result for result in evaluation.results if result.label == 0]
    row = {
        "align": align,
        "seed": seed,
        "input_hw": list(bundle.manifest.input_hw),
        "image_auroc": metrics["image_auroc"],
        "pixel_auroc": metrics["pixel_auroc"],
        "num_defective": len(defective),
        "escapes": sum(result.decision == "accept" for result in defective),
        "num_good": len(good),
        "false_rejects": sum(result.decision == "reject" for result in good),
        "not_found": sum(result.decision == "review" for result in good),
        "fit_seconds": round(fit_seconds, 1),
        "milliseconds": round(metrics["milliseconds"], 1),
    }
    if bundle.manifest.alignment is not None:
        row["pose_ms"] = round(pose_ms(data, bundle.manifest.alignment), 2)
    return row


def pose_ms(data: Path, alignment: Any) -> float:
    """Median processor time of finding the part and cutting it out, one thread."""
    taken = []
    for item in open_dataset(data).test[:20]:
        image = read_image(item.path)
        before = time.thread_time()
        straighten(image, alignment)
        taken.append((time.thread_time() - before) * 1000)
    return statistics.median(taken)


def decided(data: Path) -> dict[str, Any]:
    """What "auto" does with the good training images of a data set."""
    index = open_dataset(data)
    paths = tuple(item.path for item in index.train_good)
    start = time.perf_counter()
    laid = choose_alignment(paths, [path.name for path in paths], "auto", false_reject=0.05)
    return {
        "name": index.name,
        "fingerprint": index.with_hashes().fingerprint,
        "decided": laid.reason,
        "seconds": round(time.perf_counter() - start, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="*")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    parser.add_argument("--draws", type=int, default=3)
    arguments = parser.parse_args()
    rows = []
    for seed in range(arguments.draws):
        with tempfile.TemporaryDirectory() as folder:
            data = write_screws(
                Path(folder) / "screws",
                side=SIDE,
                num_good=NUM_GOOD,
                num_test_good=NUM_TEST_GOOD,
                num_of_each=NUM_OF_EACH,
                seed=seed,
            )
            for align in ("off", "part"):
                rows.append(measure(data, align, seed))
                print(rows[-1], flush=True)
    found = [decided(data) for data in arguments.data]
    for row in found:
        print(row, flush=True)
    write_record(arguments.output / "align.json", {**origin("numpy", "onnxruntime"), "screws": rows, "auto": found})


if __name__ == "__main__":
    main()
