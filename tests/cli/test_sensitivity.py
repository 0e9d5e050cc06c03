"""`blemish sensitivity`: what it tells, keeps and writes, and what it says where nothing can be measured."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.model import Model, load
from blemish.testing.tiny import TinyProduct, write_png


@pytest.fixture
def bundle_file(bundle_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(bundle_path, tmp_path / "tiny.blemish"))


@pytest.fixture
def good(product_folder: Path) -> Path:
    return product_folder / "test" / "good"


def test_it_tells_sizes_and_that_painted_defects_are_not_real_ones(
    run: Callable[..., Any], bundle_file: Path, good: Path
) -> None:
    before = bundle_file.read_bytes()
    outcome = run("sensitivity", bundle_file, good)
    assert outcome.status == 0
    assert "90 % found from" in outcome.stdout
    for kind in ("scratches", "spots", "missing pieces", "patches of another texture"):
        assert kind in outcome.stdout
    assert "painted test defects." in outcome.stderr
    assert "Painted defects are not real ones" in outcome.stderr
    assert "were used when this bundle was trained" not in outcome.stderr
    assert bundle_file.read_bytes() == before


def test_json_holds_the_sizes(run: Callable[..., Any], bundle_file: Path, good: Path) -> None:
    found = run("sensitivity", bundle_file, good, "--seconds", "0", "--json").json
    assert found["sensitivity"].startswith("Finds ")
    assert 0 <= found["share_found"] <= 1
    assert {(row["kind"], row["strength"]) for row in found["sizes"]} >= {("spot", "clear"), ("scratch", "faint")}
    assert found["bundle"] is None
    assert found["page"] is None


def test_what_is_kept_is_shown_by_info_and_the_report(
    run: Callable[..., Any], bundle_file: Path, good: Path, product_folder: Path, tmp_path: Path
) -> None:
    assert "not measured" in run("info", bundle_file).stdout
    identity = run("info", bundle_file, "--json").json["bundle_id"]
    found = run("sensitivity", bundle_file, good, "--keep", "--json").json
    told = run("info", bundle_file, "--json").json
    assert told["sensitivity"] == found["sensitivity"]
    assert told["bundle_id"] == identity
    assert found["sensitivity"] in run("info", bundle_file).stdout
    run("evaluate", bundle_file, product_folder, "-o", tmp_path / "report")
    assert "What would be missed" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def test_a_new_rate_is_answered_from_what_was_kept(run: Callable[..., Any], bundle_file: Path, good: Path) -> None:
    first = run("sensitivity", bundle_file, good, "--keep", "--json").json
    run("calibrate", bundle_file, "--false-reject", "0.5")
    looser = run("info", bundle_file, "--json").json
    assert looser["share_found"] > first["share_found"]
    run("calibrate", bundle_file, "--rule", "ignore spots smaller than 3 px2")
    assert "not measured" in run("info", bundle_file).stdout


def test_a_page_is_written(run: Callable[..., Any], bundle_file: Path, good: Path, tmp_path: Path) -> None:
    outcome = run("sensitivity", bundle_file, good, "--seconds", "0", "-o", tmp_path / "missed")
    assert outcome.status == 0
    assert sorted(path.name for path in (tmp_path / "missed").iterdir()) == ["index.html", "sensitivity.json"]
    assert str(tmp_path / "missed" / "index.html") in outcome.stderr


def test_lengths_are_in_millimetres_where_the_scale_is_known(
    run: Callable[..., Any], bundle_file: Path, good: Path
) -> None:
    run("calibrate", bundle_file, "--mm-per-px", "0.05")
    outcome = run("sensitivity", bundle_file, good)
    assert " mm" in outcome.stdout
    assert "px" not in outcome.stdout + outcome.stderr


def test_a_data_set_stands_for_its_good_training_images(
    run: Callable[..., Any], product_folder: Path, tmp_path: Path
) -> None:
    """Its defective images are not painted on; that the bundle has seen these images is said."""
    run("train", product_folder, "-o", tmp_path / "own.blemish", "--detector", "template", "--size", "64")
    outcome = run("sensitivity", tmp_path / "own.blemish", product_folder, "--seconds", "0")
    assert outcome.status == 0
    assert "16 of 16 images were used when this bundle was trained" in outcome.stderr


def test_several_places_are_taken_together(run: Callable[..., Any], bundle_file: Path, good: Path) -> None:
    found = run("sensitivity", bundle_file, good / "000.png", good / "001.png", "--seconds", "0", "--json").json
    assert found["num_images"] + found["num_rejected"] == 2


def test_where_nothing_can_be_measured_one_line_says_what_to_do(
    run: Callable[..., Any], bundle_file: Path, product: TinyProduct, tmp_path: Path
) -> None:
    for number, defect in enumerate(product.defects):
        write_png(tmp_path / "bad" / f"{number}.png", np.asarray(defect.image))
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    for place, word in (
        ("bad", "rejected as they are"),
        ("empty", "empty"),
        ("torn.png", "torn.png"),
        ("none", "none"),
    ):
        outcome = run("sensitivity", bundle_file, tmp_path / place)
        assert outcome.status == 2
        assert outcome.stdout == ""
        [line] = outcome.stderr.strip().splitlines()
        assert word in line


def test_in_python_the_result_is_kept_in_the_model(
    bundle_path: Path, product: TinyProduct, good: Path, tmp_path: Path
) -> None:
    model = load(bundle_path)
    assert model.bundle.sensitivity is None
    enough = {"most_seconds": 600.0}  # else a busy machine paints fewer
    from_arrays = model.sensitivity(product.held_out, **enough)
    assert model.bundle.sensitivity == from_arrays
    assert load(model.save(tmp_path / "told.blemish")).bundle.sensitivity == from_arrays
    assert Model(model.bundle).sensitivity(good, **enough) == from_arrays
    assert Model(model.bundle).sensitivity(sorted(good.iterdir()), page=tmp_path / "page", **enough) == from_arrays
    assert (tmp_path / "page" / "index.html").exists()
