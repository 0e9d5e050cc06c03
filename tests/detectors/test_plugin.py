"""The contributing page's detector, installed beside the package, keeps the whole contract as a plug-in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from blemish.registry import DETECTORS, detector_names, load_detector
from blemish.testing.tiny import TinyProduct, write_tiny_product

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A folder with the page's two files and the entry point that an installer would write."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name, source in re.findall(r"```python file=(\S+)\n(.*?)```", page, re.DOTALL):
        (tmp_path / name).write_text(source, encoding="utf-8")
    [(group, entry)] = re.findall(r'```toml\n\[project\.entry-points\."(.*?)"\]\n(.*?)\n```', page, re.DOTALL)
    facts = tmp_path / "my_detector-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: my-detector\nVersion: 1.0\n", encoding="utf-8")
    (facts / "entry_points.txt").write_text(f"[{group}]\n{entry.replace(chr(34), '')}\n", encoding="utf-8")
    return tmp_path


def run(plugin: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(plugin), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=False, cwd=plugin, env=environment
    )


def test_it_is_found_by_its_entry_point(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(plugin)
    assert "envelope" not in DETECTORS
    assert detector_names()[-1] == "envelope"
    assert load_detector("envelope").INFO.name == "envelope"


def test_it_passes_every_check(plugin: Path) -> None:
    found = run(plugin, "pytest", "-q", "test_my_detector.py")
    assert found.returncode == 0, found.stdout
    assert " passed" in found.stdout


def test_the_command_line_trains_it(plugin: Path, product: TinyProduct) -> None:
    write_tiny_product(plugin / "parts", product)
    command = ("blemish.cli.main", "train", "parts", "-o", "a.blemish", "--detector", "envelope", "--size", "64")
    found = run(plugin, *command)
    assert found.returncode == 0, found.stderr
    judged = run(plugin, "blemish.cli.main", "inspect", "a.blemish", "parts/test/scratch", "--fail-on-reject")
    assert judged.returncode == 1, judged.stderr
