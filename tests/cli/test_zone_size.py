"""A zone drawn at another size is refused where it is given; later, an image of another size fails alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import Run


@pytest.fixture(scope="module")
def zones(product_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    first = next((product_folder / "train" / "good").iterdir())
    height, width = cv2.imread(str(first)).shape[:2]
    folder = tmp_path_factory.mktemp("zones")
    made = {}
    for name, hw in (("right", (height, width)), ("half", (height // 2, width // 2)), ("high", (height + 8, width))):
        mask = np.zeros(hw, np.uint8)
        mask[: hw[0] * 3 // 4] = 255
        made[name] = folder / f"{name}.png"
        made[name].write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    return made


def scaled(source: Path, target: Path, factor: float) -> None:
    image = cv2.resize(cv2.imread(str(source)), None, fx=factor, fy=factor)
    target.write_bytes(cv2.imencode(".png", image)[1].tobytes())


@pytest.mark.parametrize("name", ["half", "high"])
def test_train_refuses_a_zone_of_another_size(
    name: str, run: Run, product_folder: Path, zones: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "part.blemish"
    done = run("train", product_folder, "--detector", "template", "--zone", zones[name], "-o", out)
    assert done.status == 2
    assert "the zone mask is" in done.stderr
    assert "images are of another size, the first train/good/" in done.stderr
    assert not out.exists()


def test_one_training_image_of_another_size_is_named(
    run: Run, product_folder: Path, zones: dict[str, Path], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(product_folder / "train" / "good", data)
    odd = sorted(data.iterdir())[3]
    scaled(odd, odd, 1.5)
    done = run("train", data, "--detector", "template", "--zone", zones["right"], "-o", tmp_path / "part.blemish")
    assert done.status == 2
    assert f"1 of {len(list(data.iterdir()))} images are of another size, the first {odd.name}" in done.stderr


def test_calibrate_refuses_a_zone_of_another_size_and_keeps_the_bundle(
    run: Run, product_folder: Path, zones: dict[str, Path], tmp_path: Path
) -> None:
    part = tmp_path / "part.blemish"
    assert run("train", product_folder, "--detector", "template", "-o", part).status == 0
    before = part.read_bytes()
    good = product_folder / "test" / "good"
    done = run("calibrate", part, good, "--zone", zones["half"])
    assert done.status == 2
    assert "draw the mask on one of the images" in done.stderr
    assert part.read_bytes() == before
    assert run("calibrate", part, good, "--zone", zones["right"]).status == 0


def test_an_image_of_another_size_is_that_images_fault_alone(
    run: Run, product_folder: Path, zones: dict[str, Path], tmp_path: Path
) -> None:
    part, parts = tmp_path / "part.blemish", tmp_path / "parts"
    done = run("train", product_folder, "--detector", "template", "--zone", zones["right"], "-o", part)
    assert done.status == 0
    shutil.copytree(product_folder / "test" / "good", parts)
    first, *others = sorted(parts.iterdir())
    scaled(first, parts / "0 odd.png", 0.5)
    done = run("inspect", part, parts, "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    failed = [row for row in rows if "error" in row]
    assert done.status == 2
    assert [Path(row["path"]).name for row in failed] == ["0 odd.png"]
    assert "the zone was drawn for images of" in failed[0]["error"]
    assert sum("decision" in row for row in rows) == 1 + len(others)
