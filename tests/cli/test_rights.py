"""Folders and files without rights are named by every command; nothing behind them is passed over."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or (IS_ROOT and shutil.which("setpriv") is None), reason="rights cannot be taken away here"
)
# The superuser passes over rights: the command runs without that power.
_DROPPED = "-dac_override,-dac_read_search"
PREFIX = ["setpriv", f"--bounding-set={_DROPPED}", f"--inh-caps={_DROPPED}"] if IS_ROOT else []


def blemish(*words: object) -> tuple[int, str]:
    done = subprocess.run(
        [*PREFIX, sys.executable, "-m", "blemish.cli.main", *map(str, words)], capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def data(product_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(product_folder, tmp_path / "data"))


@pytest.fixture(params=[0o000, 0o600], ids=["cannot be listed", "cannot be entered"])
def closed(request: pytest.FixtureRequest, data: Path) -> Iterator[Path]:
    folder = data / "test" / "spot"
    folder.chmod(request.param)
    yield folder
    folder.chmod(0o755)


def test_a_data_set_with_a_closed_folder_is_not_taken_for_whole(data: Path, closed: Path, bundle_path: Path) -> None:
    status, said = blemish("evaluate", bundle_path, data)
    assert status == 2, said
    assert "test/spot" in said
    status, said = blemish("data", "check", data)
    assert "test/spot" in said
    assert status in (0, 2), said


def test_inspect_counts_a_closed_folder_and_judges_the_rest(data: Path, closed: Path, bundle_path: Path) -> None:
    num_open = sum(path.parent != closed for path in (data / "test").rglob("*.png"))
    status, said = blemish("inspect", bundle_path, data / "test")
    assert status == 2, said
    assert "test/spot" in said
    assert f"{num_open} images: " in said
    assert "unreadable" in said


@pytest.mark.parametrize("command", ["calibrate", "quantize", "verify", "bench"])
def test_what_learns_or_measures_does_not_begin(command: str, data: Path, bundle_path: Path, tmp_path: Path) -> None:
    closed = data / "test" / "spot"
    closed.chmod(0)
    output = ["-o", tmp_path / "x.blemish"] if command in ("calibrate", "quantize") else []
    status, said = blemish(command, bundle_path, data / "test", *output)
    closed.chmod(0o755)
    assert status == 2, said
    assert "1 folder cannot be listed" in said
    assert str(closed) in said
