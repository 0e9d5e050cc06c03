"""Good images that lift the threshold stand in the report as pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blemish.datasets.index import open_dataset
from blemish.model import Model, train
from blemish.testing.tiny import write_png, write_tiny_product
from blemish.workflow.odd_good import odd_json, odd_pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A product with a good image that looks like no other."""
    folder = write_tiny_product(tmp_path_factory.mktemp("odd") / "part")
    strange = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    write_png(folder / "train" / "good" / "strange.png", strange)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return train(folder, detector="template", size=64, with_sensitivity=True)


def test_the_report_shows_them_with_what_they_cost(model: Model, folder: Path, tmp_path: Path) -> None:
    [odd] = odd_json(model.bundle)
    assert odd["name"] == "train/good/strange.png"
    model.evaluate(folder, report=tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "Good images to look at" in page
    assert "train/good/strange.png is odd and lifts the threshold" in page


def test_those_that_are_gone_are_left_out(model: Model, tmp_path: Path) -> None:
    elsewhere = write_tiny_product(tmp_path / "other")
    assert odd_pictures(model.bundle, open_dataset(elsewhere)) == ()
