"""Whatever a file holds, its reader takes it or refuses it in one line, in bounded time and memory; see the benchmark.

Hypothesis drives the damage, so that what goes wrong is made small. `benchmarks/fuzz.py` tries many more copies.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
CASES = {
    "mask": 2000,
    "saved map": 2000,
    "VisA table": 2000,
    "scores of maps": 2000,
    "backbone description": 2000,
    "defects_config.json": 2000,
    "augmentation": 2000,
    "drift watch": 1000,
    "study result": 1000,
    "calibration": 3000,
    "manifest": 1500,
    "calibration of a bundle": 300,
    "history of a bundle": 300,
    "archive": 500,
    "graph": 1000,
}
"""Kind of file -> copies; those of graphs that are run are left to the benchmark, where a crash ends one process."""
SLOWEST_SECONDS = 10
MOST_MB = 1000


@pytest.fixture(scope="module")
def fuzz() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        return importlib.import_module("fuzz")


@pytest.fixture(scope="module")
def readers(fuzz: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = fuzz.make_readers(tmp_path_factory.mktemp("fuzz"))
    return found


def test_every_kind_of_file_is_tried(fuzz: ModuleType, readers: dict[str, Any]) -> None:
    assert set(readers) == set(fuzz.NAMES)
    assert set(fuzz.NAMES) - set(CASES) == {name for name in fuzz.NAMES if name.endswith(", run")}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by Linux's own means")
@pytest.mark.parametrize("name", CASES)
def test_a_reader_takes_a_copy_or_refuses_it(name: str, fuzz: ModuleType, readers: dict[str, Any]) -> None:
    slowest = 0.0

    @settings(
        deadline=None,
        max_examples=CASES[name],
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(st.randoms(use_true_random=False))
    def check(random: Random) -> None:
        nonlocal slowest
        slowest = max(slowest, fuzz.try_copy(readers[name], random)[1])

    assert fuzz.memory_growth_mb(check) < MOST_MB
    assert slowest < SLOWEST_SECONDS


def test_a_fault_is_seen(fuzz: ModuleType) -> None:
    """The check itself: an exception of another kind, or an error of two lines, does not pass."""

    def fails() -> None:
        raise KeyError("x")

    def says_two_lines() -> None:
        raise fuzz.BundleError("one\ntwo")

    for read, fault in ((fails, KeyError), (says_two_lines, AssertionError)):
        with pytest.raises(fault):
            fuzz.try_copy(fuzz.Reader(lambda random: None, read), Random(0))
