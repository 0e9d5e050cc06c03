"""Inspection on a Ray cluster beside plain local inspection: what Ray costs, what a second worker brings.

    python benchmarks/scaling.py DATA/mvtec_bottle [-o benchmarks/results] [--images 6000]

DATA is a data set with test images; the default detector is trained on it, and its images are judged again and again
under new names, in folders of 500. Takes about fifteen minutes on an idle machine with two cores. Nothing else may run.

- `plain`: a stream with a thread on each core, what `blemish inspect` does; verdicts only, nothing written.
- `one worker`, `two workers`: what `blemish inspect --ray` does, on a cluster of one and of two nodes with one CPU each
  on this machine. `seconds` is all from the listing of the folders to the last table written, with the start of the
  workers; `first_seconds` is that until the first table is there. Connecting comes before (`connect_seconds`); the
  cluster itself runs already, as a cluster does.
- `plain` and `two workers` alternate, all rounds are listed. `overhead` is the share by which the median of `two
  workers` takes longer than that of `plain`, the start of the workers included; the bar is 0.25. The start counts less
  the longer a run takes.
- `core_hours_5_million` is what five million such images take: cores times hours, at the pace of the whole run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from record import RESULTS, origin, write_record

import blemish
from blemish.cluster.archive import inspect_archive
from blemish.cluster.connect import RAY_SETTINGS, connected
from blemish.cluster.place import open_place
from blemish.datasets.index import open_dataset
from blemish.line.sources import FileSource
from blemish.line.stream import run
from blemish.model import Model
from blemish.runtime.threads import usable_cores

ROUNDS = 3
FOLDER_IMAGES = 500
FIVE_MILLION = 5_000_000
BARS = {"overhead": 0.25}


def make_archive(data: Path, folder: Path, num_images: int) -> list[Path]:
    """Links to the images of the data set under new names, in folders of `FOLDER_IMAGES`."""
    images = [item.path for item in open_dataset(data).items]
    paths = []
    for number in range(num_images):
        image = images[number % len(images)]
        path = folder / f"{number // FOLDER_IMAGES:04}" / f"{number:07}{image.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(image.resolve())
        paths.append(path)
    return paths


def measure_plain(model: Model, paths: list[Path]) -> dict[str, float]:
    start = time.perf_counter()
    inspector = model.make_inspector(num_images=len(paths))
    for _ in run(FileSource(paths), inspector):
        pass
    return {"seconds": round(time.perf_counter() - start, 2)}


def measure_ray(model: Model, archive: Path, num_workers: int) -> dict[str, float]:
    with cluster_of(num_workers) as address, tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        with connected(address, shared=Path(out), seen=[archive]) as nodes:
            connect_seconds = time.perf_counter() - start
            firsts: list[float] = []

            def note_first(task: str, done: int, total: int) -> None:
                if not firsts:
                    firsts.append(time.perf_counter() - start)

            start = time.perf_counter()
            sources, output = [open_place(str(archive))], open_place(out)
            outcome = inspect_archive(model.bundle, sources, output, nodes, engine=model.engine, progress=note_first)
            seconds = time.perf_counter() - start
        assert outcome.counts["unreadable"] == 0
    return {
        "seconds": round(seconds, 2),
        "first_seconds": round(firsts[0], 2),
        "connect_seconds": round(connect_seconds, 2),
    }


@contextmanager
def cluster_of(num_nodes: int) -> Iterator[str]:
    """The address of a cluster of so many nodes with one CPU each, on this machine."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        for _ in range(num_nodes - 1):
            cluster.add_node(**node)
        cluster.wait_for_nodes()
        yield cluster.address
    finally:
        cluster.shutdown()


def row(name: str, workers: int, num_images: int, rounds: list[dict[str, float]]) -> dict[str, Any]:
    seconds = statistics.median(one["seconds"] for one in rounds)
    return {
        "run": name,
        "workers": workers,
        "num_images": num_images,
        "rounds": rounds,
        "seconds": seconds,
        "images_per_second": round(num_images / seconds, 1),
        "core_hours_5_million": round(FIVE_MILLION / (num_images / seconds) * workers / 3600, 1),
    }


def measure(data: Path, num_images: int) -> dict[str, Any]:
    cores = usable_cores()
    rounds: dict[str, list[dict[str, float]]] = {"plain": [], "one worker": [], "two workers": []}
    with tempfile.TemporaryDirectory() as temporary:
        bundle = Path(temporary) / "part.blemish"
        blemish.train(data).save(bundle)
        model = blemish.load(bundle)
        archive = Path(temporary) / "archive"
        paths = make_archive(data, archive, num_images)
        for number in range(ROUNDS):
            rounds["plain"].append(measure_plain(model, paths))
            rounds["two workers"].append(measure_ray(model, archive, 2))
            print(number, rounds["plain"][-1], rounds["two workers"][-1], file=sys.stderr, flush=True)
        rounds["one worker"].append(measure_ray(model, archive, 1))
    workers = {"plain": cores, "one worker": 1, "two workers": 2}
    rows = [row(name, workers[name], num_images, found) for name, found in rounds.items()]
    plain, one, two = (found["seconds"] for found in rows)
    return {
        "rows": rows,
        "overhead": round(two / plain - 1, 3),
        "speedup_of_two": round(one / two, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    parser.add_argument("--images", type=int, default=6000)
    arguments = parser.parse_args()
    os.environ.update(RAY_SETTINGS)
    index = open_dataset(arguments.data)
    record: dict[str, Any] = {
        **origin("blemish", "ray", "pyarrow", "onnxruntime"),
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "data": {"name": index.name, "fingerprint": index.fingerprint},
        "bars": BARS,
        **measure(arguments.data, arguments.images),
    }
    write_record(arguments.output / "scaling.json", record)


if __name__ == "__main__":
    main()
