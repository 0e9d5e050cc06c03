"""calibrate keeps what is not given again, tells what was and what is, and can be tried without writing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.testing.tiny import make_tiny_product, write_png


@pytest.fixture(scope="module")
def trained(product_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from blemish.model import train

    model = train(product_folder, detector="template", size=64, false_reject=0.2, confidence=0.9, review_rate=0.4)
    return model.save(tmp_path_factory.mktemp("calibrate") / "part.blemish")


@pytest.fixture
def path(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(trained, tmp_path / "part.blemish"))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good images that the detector has not seen."""
    folder = tmp_path_factory.mktemp("fresh")
    for number, image in enumerate(make_tiny_product(num_good=25, seed=9).good):
        write_png(folder / f"{number}.png", image)
    return folder


def decides(run: Any, path: Path) -> dict[str, str]:
    row = run("info", path, "--history", "--json").json["calibrations"][-1]["decides"]
    assert isinstance(row, dict)
    return row


WISHES = ("false reject rate", "confidence", "review rate", "costs", "rules", "zone", "scale")


def wishes(run: Any, path: Path) -> dict[str, str]:
    """What was asked for; what the good images support may differ."""
    return {name: decides(run, path)[name].partition(",")[0] for name in WISHES}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--reason", "nothing else"),
        ("--mm-per-px", "0.05"),
        ("--rule", "ignore spots smaller than 3 px2"),
        ("FRESH",),
        ("FRESH", "--confidence", "0.8"),
        ("--cost-escape", "20"),
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_what_is_not_given_is_kept(run: Any, path: Path, fresh: Path, arguments: tuple[str, ...]) -> None:
    before = wishes(run, path)
    assert (before["false reject rate"], before["confidence"], before["review rate"]) == (
        "20 % wanted",
        "90 %",
        "40 % wanted",
    )
    run("calibrate", path, "--rule", "reject scratches longer than 5 px", "--cost-escape", "50", "--defect-rate", "0.1")
    first = wishes(run, path)
    outcome = run("calibrate", path, *(fresh if argument == "FRESH" else argument for argument in arguments))
    assert outcome.status == 0, outcome.stderr
    after = wishes(run, path)
    named = {"--mm-per-px": "scale", "--rule": "rules", "--confidence": "confidence", "--cost-escape": "costs"}
    given = {named[argument] for argument in arguments if argument in named}
    changed = {name for name in WISHES if first[name] != after[name]}
    assert changed == given
    assert "10 % defective" in decides(run, path)["costs"]


def test_thresholds_move_only_where_something_about_them_is_asked(run: Any, path: Path) -> None:
    before = decides(run, path)
    run("calibrate", path, "--mm-per-px", "0.1", "--rule", "ignore spots smaller than 1 mm2")
    after = decides(run, path)
    assert {name for name in before if before[name] != after[name]} == {"rules", "scale"}


def test_what_was_and_what_is_are_told(run: Any, path: Path) -> None:
    outcome = run("calibrate", path, "--false-reject", "0.3", "--review-rate", "0", "--by", "ann", "--reason", "strict")
    lines = outcome.stderr.splitlines()
    assert "calibration number 2, by ann: strict" in lines[0]
    assert "changed  false reject rate: 20 % wanted -> 30 % wanted" in lines
    assert "changed  review rate: 40 % wanted -> none" in lines
    assert "kept     confidence: 90 %" in lines
    assert "kept     zone: none" in lines


def test_a_dry_run_shows_the_outcome_and_writes_nothing(run: Any, path: Path, fresh: Path) -> None:
    before = path.read_bytes()
    tried = run("calibrate", path, fresh, "--false-reject", "0.3", "--dry-run", "--json").json
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["part.blemish"]
    assert tried["is_written"] is False
    done = run("calibrate", path, fresh, "--false-reject", "0.3", "--json").json
    assert done["is_written"] is True
    assert {**tried, "is_written": True} == done
    assert "Nothing was written." in run("calibrate", path, "--restore", "1", "--dry-run").stderr
    assert "Nothing was written." in run("calibrate", path, "--dry-run", "-o", path.parent / "new").stderr
    assert [entry.name for entry in path.parent.iterdir()] == ["part.blemish"]


def test_measured_costs_need_their_images_again_only_where_they_are_weighed_anew(
    run: Any, path: Path, fresh: Path, product_folder: Path
) -> None:
    spots = product_folder / "test" / "spot"
    run("calibrate", path, "--cost-escape", "50", "--defective", spots)
    before = decides(run, path)
    assert "defects measured on 3" in before["costs"]
    assert run("calibrate", path, "--rule", "ignore spots smaller than 3 px2").status == 0
    assert decides(run, path)["threshold"] == before["threshold"]
    for arguments in ([fresh], ["--confidence", "0.8"]):
        refused = run("calibrate", path, *arguments)
        assert refused.status == 2
        assert "--defective" in refused.stderr
        assert run("calibrate", path, *arguments, "--defective", spots).status == 0
    assert run("calibrate", path, fresh, "--cost-escape", "0").status == 0
    assert decides(run, path)["costs"] == "none"


def test_defective_images_without_costs_are_refused(run: Any, path: Path, product_folder: Path) -> None:
    outcome = run("calibrate", path, "--defective", product_folder / "test" / "spot")
    assert outcome.status == 2
    assert "say what an escape costs" in outcome.stderr


def test_regions_are_drawn_as_before_with_new_images(path: Path, fresh: Path, run: Any) -> None:
    from dataclasses import replace

    from blemish.model import load

    model = load(path)
    regions = replace(model.calibration.regions, closing_px=9, min_area_px2=4)
    model.bundle = model.bundle.with_calibration(replace(model.calibration, regions=regions))
    model.save(path)
    run("calibrate", path, fresh)
    kept = load(path).calibration.regions
    assert (kept.closing_px, kept.min_area_px2) == (9, 4)
    assert np.isfinite(kept.grow_threshold)


def test_a_rate_that_cannot_choose_beside_costs_is_told(run: Any, path: Path) -> None:
    run("calibrate", path, "--cost-escape", "50")
    assert "--cost-escape 0 lets the rate choose" in run("calibrate", path, "--false-reject", "0.1").stderr
