"""One budget of threads is kept by all that works: our own threads, the engine, OpenCV and NumPy."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import threadpoolctl

import blemish
from blemish.datasets.sequence import ResizedImages, find_unreadable, read_image_sizes
from blemish.errors import SettingsError
from blemish.images.decode import read_image
from blemish.runtime.threads import at_most, budget, usable_cores
from blemish.study.executor import LocalExecutor
from blemish.testing.tiny import TinyProduct, write_png


def numpy_threads() -> set[int]:
    return {library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture
def many_cores() -> Iterator[None]:
    """As if OpenCV had taken eight threads."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(8)
    yield
    cv2.setNumThreads(before)


def test_nothing_said_is_one_thread_for_each_core() -> None:
    assert budget() == budget(0) == usable_cores() >= 1
    assert budget(7) == 7
    with pytest.raises(SettingsError, match="threads is -1: give 1 or more, or 0"):
        budget(-1)


@pytest.mark.usefixtures("many_cores")
def test_libraries_are_held_to_the_smallest_budget_and_are_as_before_afterwards() -> None:
    before = numpy_threads()
    with at_most(3):
        assert cv2.getNumThreads() == 3
        with at_most(1):
            assert cv2.getNumThreads() == 1
            assert numpy_threads() == {1}
            with at_most(5):
                assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == 3
    assert cv2.getNumThreads() == 8
    assert numpy_threads() == before


@pytest.mark.usefixtures("many_cores")
def test_works_that_overlap_leave_the_libraries_as_they_were() -> None:
    """The one that began first ends first: what each found when it began is not what is put back."""
    first, second = at_most(2), at_most(1)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert cv2.getNumThreads() == 1
    second.__exit__(None, None, None)
    assert cv2.getNumThreads() == 8


@pytest.mark.usefixtures("many_cores")
def test_a_work_that_fails_gives_its_threads_back() -> None:
    with pytest.raises(ValueError, match="of the work"), at_most(1):
        raise ValueError("of the work")
    assert cv2.getNumThreads() == 8


@pytest.mark.parametrize("threads", [1, 3])
def test_reading_uses_no_more_threads_than_it_may(
    threads: int, product: TinyProduct, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write_png(tmp_path / f"{number:02}.png", product.good[number]) for number in range(12)]
    seen: dict[int, int] = {}
    at_work: list[int] = []

    def watched(function: Callable[..., object]) -> Callable[..., object]:
        def call(path: Path, *settings: object) -> object:
            at_work.append(1)
            seen[threading.get_ident()] = max(len(at_work), seen.get(threading.get_ident(), 0))
            time.sleep(0.005)
            at_work.pop()
            return function(path, *settings)

        return call

    monkeypatch.setattr("blemish.datasets.sequence.read_image", watched(read_image))
    monkeypatch.setattr("blemish.datasets.sequence.read_image_hw", watched(lambda *_: (64, 64)))
    for work in (
        lambda: list(ResizedImages(paths, (32, 32), cache_bytes=0, threads=threads)),
        lambda: find_unreadable(paths, threads=threads),
        lambda: read_image_sizes(paths, threads=threads),
    ):
        seen.clear()
        work()
        assert max(seen.values()) <= threads
        assert len(seen) <= threads


@pytest.mark.parametrize(
    ("workers", "threads", "expected"), [(1, 8, 8), (2, 8, 4), (3, 8, 2), (8, 8, 1), (9, 8, 1), (0, 8, 2), (0, 1, 1)]
)
def test_workers_share_the_threads(workers: int, threads: int, expected: int) -> None:
    executor = LocalExecutor(workers, threads)
    assert executor.threads == expected
    assert executor.num_workers == (workers or max(1, threads // 2))


@pytest.mark.parametrize("detector", ["patchcore", "padim"])
def test_the_number_of_threads_makes_no_difference_to_a_bundle(
    detector: str, product: TinyProduct, backbone_description: str
) -> None:
    def train(threads: int) -> blemish.Model:
        return blemish.train(
            list(product.good), detector=detector, backbone=backbone_description, size=(64, 64), threads=threads
        )

    one, all_cores = train(1), train(0)
    assert one.bundle.graph == all_cores.bundle.graph
    assert replace(one.calibration, created="") == replace(all_cores.calibration, created="")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_with_one_thread_a_command_keeps_one_core_busy(product: TinyProduct, tmp_path: Path) -> None:
    """On images large enough for the engine, OpenCV and NumPy to share them among cores."""
    rng = np.random.default_rng(0)
    for number, part in enumerate(product.good):
        image = cv2.resize(part, (768, 768), interpolation=cv2.INTER_CUBIC)
        noisy = (image // 2 + rng.integers(0, 99, image.shape)).astype(np.uint8)
        write_png(tmp_path / ("good" if number < 10 else "fresh") / f"{number}.png", noisy)
    bundle, good, fresh, out = (str(tmp_path / name) for name in ("part.blemish", "good", "fresh", "out"))
    for command in (
        ["train", good, "-o", bundle, "--size", "256"],
        ["inspect", bundle, fresh, "-o", out],
        ["calibrate", bundle, fresh],
    ):
        busy = busy_threads([sys.executable, "-m", "blemish.cli.main", *command, "--threads", "1"])
        # Rows are written and files looked for beside the one thread that judges, which takes a little.
        assert busy < 1.3, f"{command[0]}: {busy:.2f} threads on average"


def busy_threads(command: list[str]) -> float:
    """How many threads of a command run or wait for a core, on average over the times when one does.

    Whatever else the machine does makes no difference to that.
    """
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    counts = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        while process.poll() is None:
            running = 0
            for stat in Path(f"/proc/{process.pid}/task").glob("*/stat"):
                with contextlib.suppress(OSError):  # the thread has ended
                    running += stat.read_text(encoding="utf-8").rpartition(") ")[2].startswith("R")
            counts.append(running)
            time.sleep(0.01)
    assert process.returncode == 0
    at_work = [count for count in counts if count]
    return sum(at_work) / len(at_work)
