"""`--engine` and `--threads`: what runs the graph, and one line where it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from blemish.runtime import engines
from blemish.runtime.engines import ENGINES, Engine


@pytest.fixture
def image(product_folder: Path) -> Path:
    return product_folder / "test" / "good" / "000.png"


def test_an_engine_that_is_missing_is_replaced_and_that_is_said_in_one_line(
    run: Any, bundle_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "ENGINES", {**ENGINES, "openvino": Engine("", lambda *_: None, lambda: "not there")})
    outcome = run("inspect", bundle_path, image, "--engine", "openvino", "--json")
    assert outcome.status == 0
    assert outcome.json["decision"] == "accept"
    first, *_ = outcome.stderr.splitlines()
    assert first == "blemish: openvino is not used: not there; onnxruntime runs instead"


def test_the_engine_of_an_evaluation_stands_in_its_facts(
    run: Any, bundle_path: Path, product_folder: Path, tmp_path: Path
) -> None:
    outcome = run("evaluate", bundle_path, product_folder, "--engine", "onnxruntime", "--threads", 1, "--json")
    assert outcome.status == 0, outcome.stderr
    assert outcome.json["num_good"] > 0


@pytest.mark.parametrize("wrong", [("--engine", "fast"), ("--threads", "-1")])
def test_what_is_no_engine_or_number_ends_with_status_2(
    wrong: tuple[str, str], run: Any, bundle_path: Path, image: Path
) -> None:
    outcome = run("inspect", bundle_path, image, *wrong)
    assert outcome.status == 2
    assert wrong[0] in outcome.stderr or wrong[1] in outcome.stderr
