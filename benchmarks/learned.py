"""What the learned detectors reach on labelled data sets, each trained as `blemish train` trains it.

    python benchmarks/learned.py DATA... -o benchmarks/results/learned.json [--runs cae,unet_ae,vae] [--folder RUNS]

Test images are used for the numbers alone: training, early stopping and thresholds see good training images only. Rows
that the output holds already are kept, and with `--folder` a training that was stopped goes on, so that an interrupted
benchmark goes on.

- `fit_seconds`: training, export and held-out scores, on the machine named above the rows; `train_seconds`: training.
- `mse`, `psnr`: the reconstruction of good test images at the input size, pixels from 0 to 1, means over images;
  `mse_of_mean_image`: the same error of the mean of all good training images, which a collapsed network would draw.
- `separation_ratio`: of the best epoch, against painted defects on held-out good images.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from record import origin, write_record

from blemish.bundle.bundle import Bundle
from blemish.datasets.index import DatasetIndex, open_dataset
from blemish.images.decode import read_image
from blemish.images.resize import resize_image
from blemish.inspection.inspector import Inspector
from blemish.metrics.reconstruction import mse
from blemish.schema import TrainingRun
from blemish.workflow.evaluate import evaluate
from blemish.workflow.train import TrainRequest, train

RUNS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "cae": ("cae", {}),
    "cae latent=64": ("cae", {"latent": 64}),
    "unet_ae": ("unet_ae", {}),
    "unet_ae corruption=none": ("unet_ae", {"corruption": "none"}),
    "vae": ("vae", {}),
    "vae score=reconstruction": ("vae", {"score": "reconstruction"}),
    "ganomaly": ("ganomaly", {}),
    "classifier network=cnn": ("classifier", {"network": "cnn"}),
    "classifier": ("classifier", {}),
    "student_teacher": ("student_teacher", {}),
    "reverse_distillation": ("reverse_distillation", {}),
}
"""What is run: a name, the detector, settings other than its defaults."""

METRICS = (
    "image_auroc", "aupro_30", "pixel_auroc", "pixel_ap", "balanced_accuracy", "false_reject_rate", "escape_rate",
)  # fmt: skip


def measure(index: DatasetIndex, name: str, size: int, seed: int, run: TrainingRun) -> dict[str, Any]:
    detector, settings = RUNS[name]
    start, used = time.perf_counter(), time.process_time()
    request = TrainRequest(
        data=index, detector=detector, settings=settings, size=size, seed=seed, run=run, progress=show
    )
    bundle = train(request)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    found = evaluate(Inspector(bundle), index)
    facts = bundle.manifest.facts
    history = facts.get("history", [])
    best = facts.get("best_epoch", 0)
    return {
        "data": index.name,
        "run": name,
        "size": size,
        "seed": seed,
        **{key: rounded(found.metrics.get(key)) for key in METRICS},
        "image_auroc_interval": rounded(found.metrics.get("intervals", {}).get("image_auroc")),
        **reconstruction(bundle, index),
        "num_fit": bundle.manifest.data.num_fit,
        "num_parameters": facts.get("num_parameters"),
        "epochs": len(history),
        "best_epoch": best,
        "separation_ratio": rounded(history[best - 1]["separation_ratio"]) if history else None,
        "fit_seconds": round(seconds, 1),
        "cpu_seconds": round(used, 1),
        "train_seconds": facts.get("train_seconds"),
        "milliseconds": rounded(float(np.median([result.milliseconds for result in found.results]))),
        "graph_bytes": len(bundle.graph),
    }


def reconstruction(bundle: Bundle, index: DatasetIndex) -> dict[str, Any]:
    """How well good test images are redrawn, for detectors that redraw."""
    inspector = Inspector(bundle)
    size = inspector.session.input_hw
    good = [resize_image(read_image(item.path), size) for item in index.test if item.is_good]
    drawn = [inspector.session.predict([image])[0].reconstruction for image in good]
    if any(each is None for each in drawn):
        return {}
    mean = np.mean([resize_image(read_image(item.path), size) for item in index.train_good], axis=0)
    errors = np.array([mse(image / 255, each / 255) for image, each in zip(good, drawn, strict=True)])
    return {
        "mse": rounded(float(errors.mean())),
        "psnr": rounded(float((-10 * np.log10(errors)).mean())),
        "mse_of_mean_image": rounded(float(np.mean([mse(image / 255, mean / 255) for image in good]))),
    }


def rounded(value: Any) -> Any:
    """Floats to five digits, also inside lists."""
    if isinstance(value, (list, tuple)):
        return [rounded(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def show(task: str, done: int, total: int) -> None:
    print(f"\r{task}: {done} of {total}   ", end="", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--runs", default=",".join(RUNS), help="names from the table in this file")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where checkpoints are kept while a training runs")
    arguments = parser.parse_args()
    output: Path = arguments.output
    rows = json.loads(output.read_text(encoding="utf-8"))["rows"] if output.exists() else []
    done = {(row["data"], row["run"], row["size"], row["seed"]) for row in rows}
    for path in arguments.data:
        index = open_dataset(path)
        for name in arguments.runs.split(","):
            if (index.name, name, arguments.size, arguments.seed) in done:
                continue
            run = TrainingRun()
            if arguments.folder is not None:
                place = f"{index.name}-{name}-{arguments.size}-{arguments.seed}".replace(" ", "-")
                run = TrainingRun(folder=arguments.folder / place, resume=True)
            rows.append(measure(index, name, arguments.size, arguments.seed, run))
            print("\n" + "  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
            write(output, rows)


def write(output: Path, rows: list[dict[str, Any]]) -> None:
    found = origin()
    for row in rows:
        row.setdefault("date", found["date"])
        row.setdefault("commit", found["commit"])
    record = {
        "machine": found["machine"],
        "data": "see docs/data.md for what these sets are and where they come from",
        "rows": rows,
    }
    write_record(output, record)


if __name__ == "__main__":
    main()
