"""The wheel alone, in a clean environment, does the main job: nothing works only from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from blemish.testing.tiny import TinyProduct, write_tiny_product

ROOT = Path(__file__).resolve().parents[1]

JOB = """
import sys
import blemish
assert "site-packages" in blemish.__file__, blemish.__file__
model = blemish.train("part", size=64)
model.save("part.blemish")
evaluation = blemish.load("part.blemish").evaluate("part", report="report")
assert evaluation.metrics["image_auroc"] > 0.9, evaluation.metrics["image_auroc"]
assert "torch" not in sys.modules
"""


def run(*command: object, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_alone_trains_saves_loads_and_inspects(tmp_path: Path, product: TinyProduct) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "-w", tmp_path / "dist", ROOT, cwd=tmp_path)
    [wheel] = (tmp_path / "dist").glob("blemish-*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "clean", cwd=tmp_path)
    scripts = tmp_path / "clean" / ("Scripts" if os.name == "nt" else "bin")
    run(
        scripts / "python",
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--quiet",
        "install",
        "-c",
        ROOT / "constraints.txt",
        wheel,
        cwd=tmp_path,
    )
    write_tiny_product(tmp_path / "part", product)
    (tmp_path / "job.py").write_text(JOB, encoding="utf-8")
    run(scripts / "python", "-I", tmp_path / "job.py", cwd=tmp_path)
    assert (tmp_path / "report" / "index.html").exists()
    found = run(scripts / "blemish", "inspect", "part.blemish", "part/test", "--json", cwd=tmp_path)
    assert len(found.splitlines()) == 12
    assert "efficientnet-lite0" in run(scripts / "blemish", "backbones", cwd=tmp_path)
    run(scripts / "blemish", "export", "part.blemish", "-o", "exported", cwd=tmp_path)
    check = sorted(str(path) for path in (tmp_path / "exported" / "check").glob("*.ppm"))
    program = tmp_path / "exported" / "inspect_image.py"
    assert len(run(scripts / "python", "-E", program, "exported", *check, cwd=tmp_path).splitlines()) == len(check) > 0
    size = sum(
        path.stat().st_size for path in (tmp_path / "clean").rglob("*") if path.is_file() and not path.is_symlink()
    )
    assert size < 500e6, f"the core environment takes {size / 1e6:.0f} MB"
