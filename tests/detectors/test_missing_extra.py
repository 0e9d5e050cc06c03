"""Without the extra `learn`: one line says what to install, before anything is read; the core goes on as before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from blemish.registry import LEARN_PACKAGES

WITHOUT = """
import importlib.util, sys
missing, *command = sys.argv[1:]
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == missing else real(name, package)
from blemish.cli.main import main
sys.argv = ["blemish", *command]
main()
"""


@pytest.mark.parametrize("package", LEARN_PACKAGES)
def test_a_learned_detector_says_what_to_install(package: str, tmp_path: Path) -> None:
    command = [package, "train", str(tmp_path), "-o", str(tmp_path / "part.blemish"), "--detector", "cae"]
    done = subprocess.run([sys.executable, "-c", WITHOUT, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert f"missing: {package}" in line
    assert 'pip install "blemish[learn]"' in line


def test_a_study_says_so_before_it_begins(product_folder: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    command = ["lightning", "compare", str(product_folder), "--detectors", "template,cae", "-o", str(study)]
    done = subprocess.run([sys.executable, "-c", WITHOUT, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "missing: lightning" in done.stderr
    assert not study.exists()
