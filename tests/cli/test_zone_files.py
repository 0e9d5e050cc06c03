"""Zones from polygons as text and from files of other tools, on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blemish.bundle.read import read_bundle
from blemish.testing.tiny import TINY_HW

Run = Callable[..., Any]


@pytest.fixture
def train(run: Run, product_folder: Path, backbone_description: str, tmp_path: Path) -> Callable[..., Any]:
    def train_with(*options: object) -> Any:
        common = ("train", product_folder, "-o", tmp_path / "a.blemish", "--backbone", backbone_description)
        return run(*common, "--size", "64", "--no-sensitivity", *options)

    return train_with


def test_polygons_as_text(train: Callable[..., Any], tmp_path: Path) -> None:
    done = train(
        "--inspect-zone", "0,0 1,0 1,1 0,1", "--ignore-zone", "0,0 1,0 1,0.2", "--ignore-zone", "0,1 0,0.9 1,1"
    )
    assert done.status == 0, done.stderr
    zone = read_bundle(tmp_path / "a.blemish").calibration.zone
    assert zone is not None
    assert len(zone.inspect) == 1
    assert len(zone.ignore) == 2


def test_a_polygon_that_is_none(train: Callable[..., Any]) -> None:
    done = train("--ignore-zone", "0,0 5,5")
    assert done.status == 2
    assert "--ignore-zone '0,0 5,5': give at least three corners" in done.stderr


def test_a_file_with_a_scale(train: Callable[..., Any], product_folder: Path, tmp_path: Path) -> None:
    found = {
        "format": "blemish-zones",
        "version": 1,
        "image": "000.png",
        "image_hw": TINY_HW,
        "mm_per_px": 0.25,
        "inspect": [[[0, 0], [32, 0], [32, 64], [0, 64]]],
        "ignore": [],
    }
    path = tmp_path / "zones.json"
    path.write_text(json.dumps(found), encoding="utf-8")
    done = train("--zone", path, "--rule", "reject scratches longer than 2 mm")
    assert done.status == 0, done.stderr
    calibration = read_bundle(tmp_path / "a.blemish").calibration
    assert calibration.mm_per_px == 0.25
    assert calibration.zone is not None
    assert calibration.zone.inspect[0][1] == (0.5, 0.0)


def test_a_damaged_file(train: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "zones.json"
    path.write_text("{", encoding="utf-8")
    done = train("--zone", path)
    assert done.status == 2
    assert done.stderr.count("\n") == 1
    assert "zones.json" in done.stderr
