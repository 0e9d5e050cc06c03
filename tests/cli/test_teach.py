"""blemish teach: the table for people and for programs, and the exit status of a teaching that is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.model import train
from blemish.testing.tiny import TINY_HW, make_tiny_product, write_png, write_tiny_product


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_product(tmp_path_factory.mktemp("teach") / "part", make_tiny_product(20, 2, 4, seed=5))


@pytest.fixture(scope="module")
def path(folder: Path, backbone_description: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = train(folder, backbone=backbone_description, size=TINY_HW, settings={"bank_size": 200})
    return model.save(tmp_path_factory.mktemp("bundle") / "part.blemish")


def test_a_taught_bundle_inspects_as_any_other(
    run: Any, path: Path, folder: Path, backbone_description: str, tmp_path: Path
) -> None:
    out = tmp_path / "taught.blemish"
    taught = run("teach", path, "--defective", folder, "-o", out, "--backbone", backbone_description, "--json")
    assert taught.status == 0, taught.stderr
    assert taught.json["is_written"] is True
    assert {row["group"]: row["pictures"] for row in taught.json["groups"]} == {"good": 20, "shown defect": 4}
    assert taught.json["bundle_id"] != taught.json["parent"]
    told = run("info", out, "--lineage")
    assert f"{taught.json['parent']}  taught " in told.stdout
    assert "shown 4 defects (scratch, spot), 0 good parts" in told.stdout
    restored = run("teach", out, "--restore", taught.json["parent"], "-o", tmp_path / "old.blemish", "--json")
    assert restored.json["bundle_id"] == taught.json["parent"]
    inspected = run("inspect", out, folder / "test" / "spot")
    assert inspected.status == 0
    assert "reject" in inspected.stdout
    assert "accept" not in inspected.stdout


def test_a_refused_teaching_prints_its_table_and_writes_nothing(
    run: Any, path: Path, folder: Path, backbone_description: str, tmp_path: Path
) -> None:
    write_png(tmp_path / "golden" / "white.png", np.full((*TINY_HW, 3), 255, np.uint8))
    out = tmp_path / "taught.blemish"
    given = ("teach", path, "--defective", folder, "-o", out, "--backbone", backbone_description)
    refused = run(*given, "--golden", tmp_path / "golden", "--no-sensitivity")
    assert refused.status == 2
    assert not out.exists()
    assert "golden good         1  1 rejected  ->  1 rejected" in refused.stderr
    assert "--accept-regression" in refused.stderr.splitlines()[-1]
