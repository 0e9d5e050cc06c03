"""Times the pixel-level metrics on the test images of one category, beside other implementations.

    python benchmarks/metrics_speed.py mvtec_bottle -o benchmarks/results/metrics_speed.json [--anomalib PYTHON]

The maps are plain: each test image's absolute difference from the mean good image, averaged over colors and smoothed,
as float32 at the size of the masks (83 maps of 512 x 512 for MVTec AD bottle at half resolution). Every implementation
runs in a process of its own on one core. `cpu_seconds` is the processor time from maps in memory to the number, which
other work on the machine lengthens little; `wall_seconds` is the clock. `memory_ratio` is the peak memory of the
process, maps and masks included, less what it took before they were loaded, over the size of the maps.

`reference` is AUPRO as the definition says, all pixels sorted and cumulated, with SciPy's regions. `--anomalib` names
the Python of an environment that has anomalib and NumPy. Linux only, for the measure of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

BARS = {
    "aupro_30 equals the reference": "difference at most 1e-6",
    "blemish aupro_30": "at most 3 s on one core",
    "blemish pixel_auroc, pixel_ap and pixel_f1_max": "at most 5 s on one core",
    "memory": "at most 3 times the maps",
}


def blemish_aupro(maps: Any, masks: Any) -> dict[str, float]:
    from blemish.metrics import aupro

    return {"aupro_30": aupro(maps, masks, 0.3)}


def blemish_ranking(maps: Any, masks: Any) -> dict[str, float]:
    from blemish.metrics.levels import auroc_of, average_precision_of, f1_max_of, levels_of

    levels = levels_of(masks, maps, "pixel_auroc")
    return {
        "pixel_auroc": float(auroc_of(levels)),
        "pixel_ap": float(average_precision_of(levels)),
        "pixel_f1_max": float(f1_max_of(levels)),
    }


def blemish_everything(maps: Any, masks: Any, **settings: int) -> dict[str, float]:
    """All six metrics and their bootstrap intervals of 1,000 resamples, as `blemish evaluate` computes them."""
    from blemish.metrics import PixelAccumulator

    pixels = PixelAccumulator(**settings)
    for scores, mask in zip(maps, masks, strict=True):
        pixels.update(scores, mask, int(mask.any()))
    found = pixels.compute()
    return {name: found[name] for name in found["intervals"]} | {
        f"{name}_bound": bound for name, bound in found["pixel_error_bounds"].items() if bound
    }


def blemish_streaming(maps: Any, masks: Any) -> dict[str, float]:
    """The same in fixed memory."""
    return blemish_everything(maps, masks, memory_mb=0)


def reference_aupro(maps: Any, masks: Any) -> dict[str, float]:
    from scipy.ndimage import label

    good, weights, num_regions = [], [], 0
    for mask in masks:
        labels, found = label(mask, np.ones((3, 3)))
        areas = np.bincount(labels.ravel())
        good.append((labels == 0).ravel())
        weights.append(np.where(labels == 0, 0.0, 1.0 / areas[labels]).ravel())
        num_regions += found
    flat, is_good, weight = np.ravel(maps), np.concatenate(good), np.concatenate(weights)
    order = np.argsort(flat)[::-1]
    last = np.append(np.diff(flat[order]) != 0, True)
    rates = np.append(0.0, np.cumsum(is_good[order])[last] / is_good.sum())
    overlaps = np.append(0.0, np.cumsum(weight[order])[last] / num_regions)
    place = int(np.searchsorted(rates, 0.3, side="right"))
    at_limit = np.interp(0.3, rates[place - 1 : place + 1], overlaps[place - 1 : place + 1])
    x, y = np.append(rates[:place], 0.3), np.append(overlaps[:place], at_limit)
    return {"aupro_30": float(np.sum((y[1:] + y[:-1]) / 2 * np.diff(x)) / 0.3)}


def sklearn_ranking(maps: Any, masks: Any) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    labels, scores = np.ravel(masks), np.ravel(maps)
    precision, recall, _ = precision_recall_curve(labels, scores)
    return {
        "pixel_auroc": float(roc_auc_score(labels, scores)),
        "pixel_ap": float(average_precision_score(labels, scores)),
        "pixel_f1_max": float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))),
    }


def anomalib_aupro(maps: Any, masks: Any) -> dict[str, float]:
    import torch
    from anomalib.metrics.aupro import _AUPRO

    torch.set_num_threads(1)
    metric = _AUPRO(fpr_limit=0.3)
    metric.update(torch.from_numpy(maps), torch.from_numpy(masks).int())
    return {"aupro_30": float(metric.compute())}


IMPLEMENTATIONS: dict[str, Callable[[Any, Any], dict[str, float]]] = {
    "blemish aupro_30": blemish_aupro,
    "blemish pixel_auroc, pixel_ap and pixel_f1_max": blemish_ranking,
    "blemish all six with intervals": blemish_everything,
    "blemish all six with intervals, streaming": blemish_streaming,
    "reference aupro_30": reference_aupro,
    "scikit-learn pixel_auroc, pixel_ap and pixel_f1_max": sklearn_ranking,
    "anomalib aupro_30": anomalib_aupro,
}


ONE_AT_A_TIME = ("blemish all six with intervals", "blemish all six with intervals, streaming")
"""These are given one map after the other from disk, as in use, and the others all maps as one array."""


def make_maps(data: Path, folder: Path) -> tuple[int, float]:
    """Writes maps and masks of the test images; returns their number and the maps' size in MB."""
    import cv2

    good = [cv2.imread(str(path)).astype(np.float32) for path in sorted((data / "train" / "good").iterdir())]
    mean = np.mean(good, axis=0)
    maps, masks = [], []
    for path in sorted((data / "test").glob("*/*")):
        image = cv2.imread(str(path)).astype(np.float32)
        maps.append(cv2.GaussianBlur(np.abs(image - mean).mean(axis=2), (0, 0), 4))
        mask_path = data / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
        mask = cv2.imread(str(mask_path), cv2.IMREAD_GRAYSCALE) if mask_path.is_file() else None
        masks.append(np.zeros(maps[-1].shape, bool) if mask is None else mask > 0)
    np.save(folder / "maps.npy", np.array(maps, np.float32))
    np.save(folder / "masks.npy", np.array(masks))
    for number, (scores, mask) in enumerate(zip(maps, masks, strict=True)):
        np.save(folder / f"map_{number:04}.npy", scores.astype(np.float32))
        np.save(folder / f"mask_{number:04}.npy", mask)
    return len(maps), sum(scores.nbytes for scores in maps) / 1e6


def load(folder: Path, one_at_a_time: bool) -> tuple[Any, Any, float]:
    """Maps and masks, and the maps' size in MB."""
    if not one_at_a_time:
        maps, masks = np.load(folder / "maps.npy"), np.load(folder / "masks.npy")
        return maps, masks, maps.nbytes / 1e6
    paths = sorted(folder.glob("map_*.npy"))
    size = sum(path.stat().st_size for path in paths) / 1e6
    return map(np.load, paths), map(np.load, sorted(folder.glob("mask_*.npy"))), size


def peak_mb() -> float:
    """The most memory this process has had since it began (its parent's does not count, as in `getrusage`)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def work(name: str, folder: Path) -> None:
    """Runs one implementation on one core and prints what came of it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    function = IMPLEMENTATIONS[name]
    # Once on a small piece, so that imports are not counted.
    function(np.random.default_rng(0).random((2, 20, 20), np.float32), np.eye(20, dtype=bool)[np.newaxis].repeat(2, 0))
    before = peak_mb()
    maps, masks, maps_mb = load(folder, name in ONE_AT_A_TIME)
    wall, cpu = time.perf_counter(), time.process_time()
    values = function(maps, masks)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    ratio = (peak_mb() - before) / maps_mb
    print(
        json.dumps(
            {
                "name": name,
                "cpu_seconds": round(cpu, 2),
                "wall_seconds": round(wall, 2),
                "memory_ratio": round(ratio, 2),
                "values": values,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--anomalib", metavar="PYTHON", help="the Python of an environment that has anomalib")
    parser.add_argument("--work", metavar="NAME", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work, arguments.data)
        return
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        num_maps, maps_mb = make_maps(arguments.data, Path(scratch))
        results = []
        for name in IMPLEMENTATIONS:
            python = arguments.anomalib if name.startswith("anomalib") else sys.executable
            if python is None:
                continue
            command = [python, __file__, scratch, "--work", name]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{name} failed:\n{done.stderr}")
            results.append(json.loads(done.stdout.splitlines()[-1]))
            print(json.dumps(results[-1]), flush=True)
    by_name = {result["name"]: result for result in results}
    ours = by_name["blemish aupro_30"]["values"]["aupro_30"]
    found = {
        "date": date.today().isoformat(),
        "commit": commit(),
        "machine": {"platform": platform.platform(), "processor": processor(), "cores_used": 1},
        "load_average": list(os.getloadavg()),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scikit-learn": version("scikit-learn"),
        },
        "data": {"name": arguments.data.name, "num_maps": num_maps, "maps_mb": round(maps_mb, 1)},
        "bars": BARS,
        "difference_from_reference": abs(ours - by_name["reference aupro_30"]["values"]["aupro_30"]),
        "results": results,
    }
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def commit() -> str:
    """The commit, marked where the metrics have been changed since."""
    root = Path(__file__).parents[1]
    head, changed = (
        subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, check=False).stdout.strip()
        for command in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--", "blemish/metrics"])
    )
    return f"{head}-dirty" if changed else head


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
