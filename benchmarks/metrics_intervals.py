"""Simulates test sets to see how often the image-level intervals hold the truth.

    python benchmarks/metrics_intervals.py -o benchmarks/results/metrics_intervals.json

Scores of good images are normally distributed, those of defective ones too, with the same or 2.5 times the width and
such a mean that AUROC has a chosen value. The truth is the metric of endlessly many images in the same proportion.
`held` is the share of simulated test sets whose interval of 95 % holds it, `bootstrap` the same for the percentile
bootstrap alone, and `width` the mean width of the interval.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
from datetime import date
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from blemish.metrics import image_metrics
from blemish.metrics.bootstrap import image_draws, percentile_interval
from blemish.metrics.evaluate import IMAGE_METRICS

COUNTS = ((20, 63), (90, 50), (15, 20))
AUROCS = (0.7, 0.9, 0.99, 0.998)
WIDTHS = (1.0, 2.5)


def truth(mean: float, width: float, num_good: int, num_defective: int) -> dict[str, float]:
    falling = np.linspace(9 + abs(mean) + 9 * width, -9 - 9 * width, 40_001)
    good = num_good * np.array([math.erfc(score / math.sqrt(2)) / 2 for score in falling])
    hits = num_defective * np.array([math.erfc((score - mean) / width / math.sqrt(2)) / 2 for score in falling])
    precision = hits / np.maximum(hits + good, 1e-300)
    return {
        "image_auroc": NormalDist().cdf(mean / math.hypot(1, width)),
        "image_ap": float(np.sum(np.diff(hits) * (precision[1:] + precision[:-1]) / 2) / num_defective),
        "image_f1_max": float(np.max(2 * hits / (num_defective + hits + good))),
    }


def simulate(
    auroc: float, width: float, num_good: int, num_defective: int, trials: int, rng: np.random.Generator
) -> dict[str, Any]:
    mean = math.hypot(1, width) * NormalDist().inv_cdf(auroc)
    true = truth(mean, width, num_good, num_defective)
    labels = np.repeat([False, True], [num_good, num_defective])
    held, alone, widths = (dict.fromkeys(IMAGE_METRICS, 0.0) for _ in range(3))
    for trial in range(trials):
        scores = np.where(labels, mean + width * rng.normal(size=len(labels)), rng.normal(size=len(labels)))
        intervals = image_metrics(labels, scores, seed=trial)["intervals"]
        draws = image_draws(IMAGE_METRICS, labels, scores, trial, 1000)
        for name in IMAGE_METRICS:
            low, high = intervals[name]
            held[name] += (low <= true[name] <= high) / trials
            widths[name] += (high - low) / trials
            low, high = percentile_interval(draws[name])
            alone[name] += (low <= true[name] <= high) / trials
    return {
        "auroc": auroc,
        "width": width,
        "num_good": num_good,
        "num_defective": num_defective,
        **{
            name: {
                "truth": round(true[name], 4),
                "held": round(held[name], 3),
                "bootstrap": round(alone[name], 3),
                "width": round(widths[name], 4),
            }
            for name in IMAGE_METRICS
        },
    }


def commit() -> str:
    """The commit, marked where the metrics have been changed since."""
    root = Path(__file__).parents[1]
    head, changed = (
        subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, check=False).stdout.strip()
        for command in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--", "blemish/metrics"])
    )
    return f"{head}-dirty" if changed else head


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--trials", type=int, default=300)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    results = []
    for width in WIDTHS:
        for auroc in AUROCS:
            for counts in COUNTS:
                results.append(simulate(auroc, width, *counts, arguments.trials, rng))
                print(json.dumps(results[-1]), flush=True)
    found = {
        "date": date.today().isoformat(),
        "commit": commit(),
        "machine": platform.platform(),
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "data": f"{arguments.trials} simulated test sets for each row",
        "results": results,
    }
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
