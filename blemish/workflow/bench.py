"""How fast a bundle is on this machine: cold start, latency, throughput and memory, by engine."""

from __future__ import annotations

import multiprocessing
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from blemish.bundle.bundle import Bundle
from blemish.bundle.read import read_bundle
from blemish.errors import EngineError, EngineWarning
from blemish.files import write_file
from blemish.images.decode import read_image
from blemish.inspection.inspector import Inspector
from blemish.line.events import Item, Origin
from blemish.line.sources import ArraySource
from blemish.line.stream import run
from blemish.runtime.engines import available_engines
from blemish.runtime.peak_memory import peak_memory_mb
from blemish.schema import AS_THEY_ARE, Progress, ReadSettings, silent
from blemish.workflow.verify import check_images

COLD_STARTS = 3
KEPT_IMAGES = 32
"""Decoded images held for the latency; a folder may hold more."""
LEAST_RUNS = 20


@dataclass(frozen=True)
class EngineSpeed:
    """What one engine needs. `error` says why it could not run; the numbers mean nothing then.

    - `cold_start_seconds`: from the start of a process of its own (`blemish inspect`) to its first verdict; median.
    - `p50_ms`, `p90_ms`, `p99_ms`: from a decoded image to its verdict, one at a time, over `num_runs` runs.
    - `images_per_second`: from files to verdicts over a folder, as `blemish inspect` does it.
    - `peak_memory_mb`: of the process that did the last two; None where the system does not say.
    """

    engine: str
    cold_start_seconds: float = 0.0
    p50_ms: float = 0.0
    p90_ms: float = 0.0
    p99_ms: float = 0.0
    num_runs: int = 0
    images_per_second: float = 0.0
    num_files: int = 0
    peak_memory_mb: float | None = None
    error: str = ""


@dataclass(frozen=True)
class _Task:
    bundle: Path
    images: tuple[Path, ...]
    engine: str
    threads: int
    seconds: float
    reading: ReadSettings


def bench(
    bundle: Path,
    images: Sequence[Path],
    *,
    engines: Sequence[str] | None = None,
    threads: int = 0,
    seconds: float = 5.0,
    reading: ReadSettings = AS_THEY_ARE,
    progress: Progress = silent,
) -> tuple[EngineSpeed, ...]:
    """One row for each engine that can run here, or for each one named; each is measured by itself.

    `seconds` is the time spent on the latency of an engine, and on its throughput again. Raises ImageError where an
    image cannot be read.
    """
    rows = []
    names = engines or available_engines()
    for number, engine in enumerate(names, start=1):
        rows.append(_bench_engine(_Task(bundle, tuple(images), engine, threads, seconds, reading)))
        progress("measuring engines", number, len(names))
    return tuple(rows)


def write_check_images(bundle: Bundle, folder: Path) -> tuple[tuple[Path, ...], str]:
    """The bundle's own images as files in `folder`, for those who give none, and where they come from."""
    checked = check_images(bundle)
    paths = []
    for number, image in enumerate(checked.images):
        content = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
        paths.append(write_file(folder / f"{number:03}.png", content))
    return tuple(paths), checked.source


def measure_cold_start(
    bundle: Path,
    image: Path,
    *,
    engine: str,
    threads: int = 0,
    reading: ReadSettings = AS_THEY_ARE,
    repeats: int = COLD_STARTS,
) -> float:
    """Median seconds from the start of `blemish inspect` to its first verdict. Raises EngineError where it fails."""
    command = [sys.executable, "-m", "blemish.cli.main", "inspect", str(bundle), str(image), "--json"]
    command += ["--engine", engine, "--threads", str(threads), "--max-pixels", str(reading.max_pixels)]
    command += ["--page", str(reading.page)] if reading.page is not None else []
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            taken.append(time.perf_counter() - start)
            _, messages = process.communicate()
        if not line.strip() or process.returncode != 0:
            raise EngineError(f"`blemish inspect` gave no verdict: {(messages.strip().splitlines() or [''])[0]}")
    return statistics.median(taken)


def _bench_engine(task: _Task) -> EngineSpeed:
    try:
        # Started anew rather than forked: memory is that of this engine alone, and threads do not survive a fork.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            speed = pool.submit(_measure, task).result()
        cold = measure_cold_start(
            task.bundle, task.images[0], engine=task.engine, threads=task.threads, reading=task.reading
        )
        return replace(speed, cold_start_seconds=cold)
    except (EngineError, BrokenProcessPool) as error:
        return EngineSpeed(task.engine, error=str(error))


def _measure(task: _Task) -> EngineSpeed:
    """Latency, throughput and memory; runs in a process of its own."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", EngineWarning)
        inspector = Inspector(read_bundle(task.bundle), engine=task.engine, threads=task.threads, reading=task.reading)
    if inspector.session.engine != task.engine:
        raise EngineError(str(said[0].message))
    kept = [read_image(path, inspector.reading) for path in task.images[:KEPT_IMAGES]]
    for image in kept[:2]:
        inspector.inspect_image(image, "")
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < LEAST_RUNS or time.perf_counter() - start < task.seconds:
        before = time.perf_counter()
        inspector.inspect_image(kept[len(times) % len(kept)], "")
        times.append((time.perf_counter() - before) * 1000)
    paths = task.images * max(1, round(task.seconds * 1000 / statistics.median(times) / len(task.images)))
    # As `blemish inspect` does it: several images at once with one thread for each, or the tiles of one.
    threads = 1 if inspector.tiling is None else task.threads
    inspector = Inspector(inspector.bundle, engine=task.engine, threads=threads, reading=task.reading)
    files = ArraySource([Item(Origin(str(path), path), path) for path in paths])
    start = time.perf_counter()
    for _ in run(files, inspector, num_threads=task.threads):
        pass
    rate = len(paths) / (time.perf_counter() - start)
    p50, p90, p99 = np.percentile(times, [50, 90, 99])
    return EngineSpeed(
        task.engine,
        p50_ms=float(p50),
        p90_ms=float(p90),
        p99_ms=float(p99),
        num_runs=len(times),
        images_per_second=rate,
        num_files=len(paths),
        peak_memory_mb=peak_memory_mb(),
    )
