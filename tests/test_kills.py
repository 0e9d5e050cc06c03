"""A few of the kills of `benchmarks/kills.py`, so that what it measures stays true."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).resolve().parents[1] / "benchmarks" / "kills.py"


@pytest.fixture(scope="module")
def kills() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kills", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kills"] = module  # its dataclasses look for it there
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize("name", ["inspect", "calibrate", "train", "quantize", "compare"])
def test_kills_lose_nothing(kills: ModuleType, name: str, tmp_path: Path) -> None:
    count = kills.try_command(name, tmp_path, 4, random.Random(name))
    assert count.kills == 4
    assert count.at_work > 0
    assert (count.lost, count.half_written) == (0, 0)


def test_losses_are_seen(kills: ModuleType, tmp_path: Path) -> None:
    """The benchmark can fail: rows, entries and results that are missing or cut are counted."""
    case = kills.Inspect(tmp_path / "a")
    case.check(kills.run(case.arguments), kills.Count())
    told = kills.run(case.arguments)
    lines = case.touched / "verdicts.jsonl"
    lines.write_bytes(lines.read_bytes()[:-20])
    count = kills.Count()
    case.check(told, count)
    assert count.lost > 0
    assert count.half_written == 1
    case = kills.Calibrate(tmp_path / "b")
    before = case.bundle.read_bytes()
    told = kills.run(case.arguments)
    case.bundle.write_bytes(before)
    count = kills.Count()
    case.check(told, count)
    assert count.lost > 0
    case.bundle.write_bytes(before[:-1])
    case.check([], count)
    assert count.half_written == 1
