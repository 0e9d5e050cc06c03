"""What the presets of the default detector reach, each with one setting for all data sets, and what they cost.

    python benchmarks/accuracy_default.py DATA... [-o benchmarks/results] [--presets balanced,fast,accurate]

Each data set is trained as `blemish train DATA -o FILE --preset PRESET` trains it, in a process of its own, then judged
on its test images at the size of their masks. Thresholds come from good training images alone.

- `fit_seconds`: from the folder to the written bundle, calibration included.
- `peak_memory_mb`: the most memory the process has had when the bundle is written.
- `milliseconds`: median from a decoded image of the input size to its verdict, one image at a time, all cores.
- `milliseconds_best`: the same with the fastest of the installed engines that gives the same verdicts, `best_engine`.
- `milliseconds_full`: as `milliseconds`, for images as they come, resizing included.

Writes `accuracy_default.json` and the same as a page, `accuracy_default.md`. Rows of other data sets that the file
holds already are kept if they were measured at the same commit.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record import RESULTS, commit, origin, write_record

METRICS = (
    *("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro_30", "aupro_05"),
    *("false_reject_rate", "escape_rate", "balanced_accuracy", "num_good", "num_defective"),
)
PRESETS = ("balanced", "fast", "accurate")
GOALS: dict[str, dict[str, dict[str, float]]] = {
    "fast": {"mvtec_bottle": {"milliseconds_best": 7}},
    "balanced": {
        "mvtec_bottle": {"image_auroc": 1.0, "aupro_30": 0.95, "milliseconds_best": 20, "fit_seconds": 15},
        "mvtec_pill": {"image_auroc": 0.975, "aupro_30": 0.95},
        "kolektorsdd": {"image_auroc": 0.95, "pixel_ap": 0.35},
        "magnetic_tile": {"image_auroc": 0.975},
    },
    "accurate": {
        "mvtec_bottle": {"image_auroc": 1.0, "aupro_30": 0.96, "milliseconds_best": 100, "fit_seconds": 90},
        "mvtec_pill": {"image_auroc": 0.985, "aupro_30": 0.96},
        "kolektorsdd": {"image_auroc": 0.97, "pixel_ap": 0.45},
        "magnetic_tile": {"image_auroc": 0.983},
    },
}
"""What was set as a goal before the presets were made: at least so much, or at most for times."""
TIMES = ("milliseconds_best", "fit_seconds")
REPEATS = 100
PACKAGES = ("blemish", "onnxruntime", "numpy", "opencv-python-headless")


def measure(data: Path, preset: str) -> dict[str, Any]:
    """One row: train, save, load, evaluate."""
    import blemish
    from blemish.datasets.index import open_dataset
    from blemish.images.decode import read_image
    from blemish.images.resize import resize_image

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        path = blemish.train(data, preset=preset).save(Path(folder) / "part.blemish")
        seconds = time.perf_counter() - start
        memory = peak_memory_mb()
        size = path.stat().st_size
        model, best = blemish.load(path), blemish.load(path, engine="auto")
    evaluation = model.evaluate(data)
    index = open_dataset(data)
    image = resize_image(read_image(index.test[0].path), model.inspector.session.input_hw)
    times, best_times = ([made.inspect(image).milliseconds for _ in range(REPEATS)] for made in (model, best))
    manifest = model.bundle.manifest
    return {
        "name": index.name,
        "preset": preset,
        "fingerprint": index.fingerprint,
        "input_hw": list(manifest.input_hw),
        "num_fit": manifest.data.num_fit,
        **{name: evaluation.metrics[name] for name in METRICS if name in evaluation.metrics},
        "intervals": {name: interval for name, interval in evaluation.metrics["intervals"].items() if name in METRICS},
        "detector": manifest.detector,
        "backbone": manifest.backbone.name if manifest.backbone else None,
        "settings": manifest.settings,
        "fit_seconds": round(seconds, 2),
        "peak_memory_mb": memory,
        "bundle_bytes": size,
        "milliseconds": round(statistics.median(times), 2),
        "milliseconds_best": round(statistics.median(best_times), 2),
        "best_engine": best.inspector.session.engine,
        "milliseconds_full": round(evaluation.metrics["milliseconds"], 2),
    }


def peak_memory_mb() -> float | None:
    """The most memory this process has had; None where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def page(record: dict[str, Any]) -> str:
    """The record as a Markdown page."""
    lines = [
        "# The presets of the default detector on data sets\n",
        f"Made by `benchmarks/accuracy_default.py` on {record['date']} at commit {record['commit']}, "
        f"{record['machine']}, {', '.join(f'{name} {number}' for name, number in record['versions'].items())}.\n",
        "| preset | data | fitted on | test good / defective | image AUROC (95 %) | pixel AUROC | pixel AP "
        "| AUPRO(0.3) | AUPRO(0.05) | false rejects | escapes | fit | memory | bundle | verdict | with the best engine "
        "| verdict, full size |",
        "| --- " * 17 + "|",
    ]
    for row in record["rows"]:
        low_high = row["intervals"].get("image_auroc")
        between = f" [{low_high[0]:.3f}, {low_high[1]:.3f}]" if low_high else ""
        memory = "-" if row["peak_memory_mb"] is None else f"{row['peak_memory_mb']:.0f} MB"
        lines.append(
            f"| {row['preset']} | {row['name']} | {row['num_fit']} | {row['num_good']} / {row['num_defective']} "
            f"| {row['image_auroc']:.4f}{between} | {shown(row, 'pixel_auroc')} | {shown(row, 'pixel_ap')} "
            f"| {shown(row, 'aupro_30')} | {shown(row, 'aupro_05')} "
            f"| {row['false_reject_rate']:.3f} | {row['escape_rate']:.3f} "
            f"| {row['fit_seconds']:.1f} s | {memory} | {row['bundle_bytes'] / 1e6:.1f} MB "
            f"| {row['milliseconds']:.1f} ms "
            f"| {row['milliseconds_best']:.1f} ms ({row['best_engine']}) | {row['milliseconds_full']:.1f} ms |"
        )
    missed = [
        f"{row['preset']} {row['name']} {name} {row[name]:.4f} (goal {goal})"
        for row in record["rows"]
        for name, goal in GOALS[row["preset"]].get(row["name"], {}).items()
        if (row[name] > goal if name in TIMES else row[name] < goal)
    ]
    lines.append(f"\nGoals missed: {', '.join(missed) or 'none'}.\n")
    prints = {row["name"]: row["fingerprint"] for row in record["rows"]}
    lines += [f"- {name}: fingerprint `{fingerprint}`" for name, fingerprint in prints.items()]
    return "\n".join(lines) + "\n"


def shown(row: dict[str, Any], name: str) -> str:
    return f"{row[name]:.4f}" if name in row else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    parser.add_argument("--presets", default=",".join(PRESETS))
    parser.add_argument("--one", action="store_true", help="print the row of one data set and preset as JSON and stop")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.data[0], arguments.presets)))
        return
    target: Path = arguments.output / "accuracy_default.json"
    before = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    kept = before.get("rows", []) if before.get("commit") == commit() else []
    rows = {(row["preset"], row["name"]): row for row in kept}
    for preset, data in itertools.product(arguments.presets.split(","), arguments.data):
        print(f"{preset} {data} ...", file=sys.stderr, flush=True)
        command = [sys.executable, __file__, "--one", str(data), "--presets", preset]
        row = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        rows[preset, row["name"]] = row
        print(f"  image AUROC {row['image_auroc']:.4f}, fit {row['fit_seconds']} s", file=sys.stderr, flush=True)
        record = {**origin(*PACKAGES), "rows": list(rows.values())}
        write_record(target, record)
        target.with_suffix(".md").write_text(page(record), encoding="utf-8")


if __name__ == "__main__":
    main()
