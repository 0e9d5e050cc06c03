"""Which defective images among the good ones `blemish data check --suspicious` names, and how many good ones with them.

    python benchmarks/suspicious.py DATA... -o benchmarks/results/suspicious.json [--shares 0,0.05,0.1] [--seeds 1]

DATA are data sets with defective test images. Of these as many as a share of the good training images are drawn by the
seed and put among them at random places; a share of 0 shows what is named in a clean folder. Rows that the output holds
already are kept, so that an interrupted run goes on.

- `named`, `named_good`: how many of the `num_defective` hidden defects, and of the `num_good` good images, are named.
- `auroc`: how well the held-out scores rank the hidden defects above the good images.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from blemish.data.index import DatasetIndex, open_dataset
from blemish.metrics.ranking import auroc
from blemish.schema import DEFECTIVE
from blemish.workflow.suspicious import rank_good_images


def measure(index: DatasetIndex, share: float, seed: int) -> dict[str, Any]:
    """The row of one data set with a share of hidden defects."""
    rng = np.random.default_rng(seed)
    defective = [item for item in index.test if item.label == DEFECTIVE]
    num_hidden = min(round(share * len(index.train_good)), len(defective))
    hidden = [defective[place] for place in rng.choice(len(defective), num_hidden, replace=False)]
    items = [*index.train_good, *hidden]
    start = time.perf_counter()
    ranked = rank_good_images([items[place] for place in rng.permutation(len(items))])
    seconds = time.perf_counter() - start
    is_hidden = [image.item.label == DEFECTIVE for image in ranked]
    named = [image.item.label == DEFECTIVE for image in ranked if image.is_suspicious]
    return {
        "data": index.name,
        "share": share,
        "seed": seed,
        "num_good": len(index.train_good),
        "num_defective": num_hidden,
        "named": sum(named),
        "named_good": len(named) - sum(named),
        "auroc": round(auroc(is_hidden, [image.score for image in ranked]), 4) if hidden else None,
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--shares", default="0,0.05,0.1")
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    output: Path = arguments.output
    rows = json.loads(output.read_text(encoding="utf-8"))["rows"] if output.exists() else []
    done = {(row["data"], row["share"], row["seed"]) for row in rows}
    for path in arguments.data:
        index = open_dataset(path)
        for share in map(float, arguments.shares.split(",")):
            for seed in range(arguments.seeds):
                if (index.name, share, seed) in done:
                    continue
                rows.append(measure(index, share, seed))
                print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
                write(output, rows)


def write(output: Path, rows: list[dict[str, Any]]) -> None:
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    record = {
        "date": date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
        "data": "see docs/data.md for what these sets are and where they come from",
        "rows": rows,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
