"""The page on speed names every engine there is, and its examples run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from blemish.datasets.sequence import CACHE_BYTES
from blemish.detectors.features import MOST_FEATURE_BYTES
from blemish.folders import CACHE_VARIABLE
from blemish.runtime.engines import available_engines, engine_names
from blemish.workflow.train import MOST_CROSS_PIXELS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "speed.md").read_text(encoding="utf-8")


def test_every_engine_is_in_the_table() -> None:
    for name in engine_names():
        assert f"\n| `{name}` |" in PAGE


def test_the_python_examples_run(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(bundle_path, tmp_path / "part.blemish")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example, "speed.md", "exec"), {})
    assert capsys.readouterr().out.strip() in available_engines()


def test_the_limits_of_a_training_are_stated() -> None:
    assert f"up to {MOST_FEATURE_BYTES / 2**30:.1f} GB" in PAGE
    assert f"{MOST_CROSS_PIXELS // 256**2:,} images of 256 x 256" in PAGE
    assert f"{CACHE_BYTES // 2**20} MB" in PAGE
