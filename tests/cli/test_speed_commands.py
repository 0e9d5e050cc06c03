"""`verify` and `bench` as people see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def test_verify_prints_one_line_for_each_engine_that_runs(run: Any, bundle_path: Path, product_folder: Path) -> None:
    outcome = run("verify", bundle_path, product_folder / "test")
    assert outcome.status == 0, outcome.stderr
    heading, reference, *_ = outcome.stdout.splitlines()
    assert heading.split()[0] == "engine"
    assert reference.split()[0] == "onnxruntime"
    assert reference.endswith("reference")
    assert "Compared on 12 of 12 images given." in outcome.stderr
    assert "onnxruntime-cuda: this ONNX Runtime has no CUDAExecutionProvider" in outcome.stderr


def test_verify_gives_all_numbers_as_json(run: Any, bundle_path: Path) -> None:
    outcome = run("verify", bundle_path, "--engine", "onnxruntime", "--json")
    [row] = outcome.json["engines"]
    assert row["is_equal"] is True
    assert row["num_flips"] == 0
    assert row["num_images"] == 16
    assert outcome.json["tolerance"] == 0.01


def test_bench_prints_a_table(run: Any, bundle_path: Path) -> None:
    outcome = run("bench", bundle_path, "--engine", "onnxruntime", "--seconds", "0.1")
    assert outcome.status == 0, outcome.stderr
    heading, row = outcome.stdout.splitlines()
    assert heading.split() == ["engine", "cold", "start", "p50", "p90", "p99", "images/s", "memory"]
    assert row.startswith("onnxruntime ")


@pytest.mark.parametrize("command", ["verify", "bench"])
def test_an_unknown_engine_is_refused(command: str, run: Any, bundle_path: Path) -> None:
    outcome = run(command, bundle_path, "--engine", "auto")
    assert outcome.status == 2
    assert "auto is a choice among the engines" in outcome.stderr
