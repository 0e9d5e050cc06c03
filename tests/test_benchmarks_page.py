"""Every benchmark is listed and says how it is run; a result says when, on what and at which commit it was measured."""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = [path for path in sorted(FOLDER.glob("*.py")) if "__main__" in path.read_text(encoding="utf-8")]


def test_every_script_is_listed_and_says_how_to_run_it() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for script in SCRIPTS:
        assert f"`{script.name}`" in page
        description = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8")))
        assert description is not None
        assert f"python benchmarks/{script.name}" in description


def test_every_result_says_what_it_is_of() -> None:
    for path in sorted((FOLDER / "results").glob("*.json")):
        text = path.read_text(encoding="utf-8")
        json.loads(text)
        for fact in ('"date"', '"commit"', '"machine"'):
            assert fact in text, f"{path.name} does not name its {fact}"


def test_the_page_of_the_default_detector_shows_goals_that_were_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    spec = importlib.util.spec_from_file_location("accuracy_default", FOLDER / "accuracy_default.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    row = {
        "name": "magnetic_tile",
        "preset": "balanced",
        "fingerprint": "ab12",
        "num_fit": 761,
        "num_good": 191,
        "num_defective": 392,
        "image_auroc": 0.95,
        "intervals": {"image_auroc": [0.93, 0.97]},
        "false_reject_rate": 0.01,
        "escape_rate": 0.2,
        "fit_seconds": 40.0,
        "peak_memory_mb": None,
        "bundle_bytes": 6_000_000,
        "milliseconds": 9.0,
        "milliseconds_best": 7.0,
        "best_engine": "openvino",
        "milliseconds_full": 9.5,
    }
    record = {"date": "2026-11-22", "commit": "abc", "machine": "a PC", "versions": {"numpy": "2"}, "rows": [row]}
    page = module.page(record)
    row_text = "| balanced | magnetic_tile | 761 | 191 / 392 | 0.9500 [0.930, 0.970] | - | - | - | - | 0.010 | 0.200 |"
    assert row_text in page
    assert "Goals missed: balanced magnetic_tile image_auroc 0.9500 (goal 0.975)." in page
    row["image_auroc"] = 0.98
    assert "Goals missed: none." in module.page(record)
