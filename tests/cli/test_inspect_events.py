"""What `inspect` tells of more than single verdicts: drift, lots, files left out, and the exit status of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from blemish.model import train
from blemish.testing.tiny import make_tiny_product, write_png


@pytest.fixture(scope="module")
def bundle_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on so many good images that drift can be seen."""
    model = train(list(make_tiny_product(num_good=80).good), detector="template", size=64)
    return model.save(tmp_path_factory.mktemp("events") / "part.blemish")


@pytest.fixture
def good(tmp_path: Path) -> Path:
    for number, image in enumerate(make_tiny_product(seed=1).held_out):
        write_png(tmp_path / "good" / f"{number}.png", image)
    return tmp_path / "good"


@pytest.fixture
def dark(tmp_path: Path) -> Path:
    for number, image in enumerate(make_tiny_product(num_good=12, seed=1).good):
        write_png(tmp_path / "dark" / f"{number:02}.png", (image * 0.3).astype(np.uint8))
    return tmp_path / "dark"


class TestDrift:
    def test_the_alarm_is_a_line_of_its_own_and_a_status_by_choice(self, run, bundle_file: Path, dark: Path) -> None:
        outcome = run("inspect", bundle_file, dark, "--json", "--fail-on-drift")
        rows = [json.loads(line) for line in outcome.stdout.splitlines()]
        [alarm] = [row for row in rows if row.get("event") == "drift"]
        assert outcome.status == 4
        assert len([row for row in rows if "decision" in row]) == 12
        assert alarm["num_parts"] == rows.index(alarm), "it comes behind the part that raised it"
        assert alarm["sentence"] in outcome.stderr
        assert run("inspect", bundle_file, dark).status == 0

    def test_no_alarm_no_status(self, run, bundle_file: Path, good: Path) -> None:
        outcome = run("inspect", bundle_file, good, "--json", "--fail-on-drift")
        assert outcome.status == 0
        assert len(outcome.stdout.splitlines()) == 6

    def test_a_promise_that_is_void_stays_so_in_the_next_run(
        self, run, bundle_file: Path, dark: Path, good: Path, tmp_path: Path
    ) -> None:
        watch = ("--drift-state", tmp_path / "drift.json", "--fail-on-drift")
        assert run("inspect", bundle_file, dark, *watch).status == 4
        assert run("inspect", bundle_file, good, *watch).status == 4

    def test_a_reject_with_drift_ends_with_the_status_of_drift(self, run, bundle_file: Path, dark: Path) -> None:
        assert run("inspect", bundle_file, dark, "--fail-on-reject").status == 1
        assert run("inspect", bundle_file, dark, "--fail-on-reject", "--fail-on-drift").status == 4

    def test_a_damaged_watch_stops_nothing(self, run, bundle_file: Path, good: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "drift.json").write_bytes(b"\x00 not a watch")
        outcome = run("inspect", bundle_file, good, "-o", tmp_path / "out")
        assert outcome.status == 0
        assert "drift.json" in outcome.stderr
        assert json.loads((tmp_path / "out" / "drift.json").read_bytes())["state"]["num_parts"] == 6


class TestLots:
    def test_the_status_is_that_of_the_lot(self, run, bundle_file: Path, tmp_path: Path) -> None:
        """One part over its threshold in a large lot is no reject of the lot."""
        product = make_tiny_product(num_good=60, num_defects=2, seed=3)
        for number, image in enumerate((*product.good, product.defects[1].image)):
            write_png(tmp_path / "lot" / f"{number:02}.png", image)
        lot = ("inspect", bundle_file, tmp_path / "lot", "--lot", "--fail-on-reject", "--false-discovery-rate", "0.1")
        single = run(*lot[:3], "--fail-on-reject")
        assert single.status == 1
        outcome = run(*lot, "--json")
        rows = [json.loads(line) for line in outcome.stdout.splitlines() if "decision" in json.loads(line)]
        assert outcome.status == int(any(row["lot_rejected"] for row in rows)) == 0
        rates = run(*lot[:-1], "0.9")
        assert rates.status == int("rejected in the lot" in rates.stdout) == 1

    def test_an_unreadable_image_is_no_part_of_the_lot(self, run, bundle_file: Path, good: Path) -> None:
        (good / "2.png").write_bytes(b"no image")
        outcome = run("inspect", bundle_file, good, "--lot", "--json")
        rows = [json.loads(line) for line in outcome.stdout.splitlines()]
        assert outcome.status == 2
        assert len([row for row in rows if "lot_rejected" in row]) == 5
        assert [row["path"] for row in rows if "error" in row] == [str(good / "2.png")]


def test_what_is_left_out_is_told_and_what_cannot_be_seen_is_an_error(
    run, bundle_file: Path, good: Path, tmp_path: Path
) -> None:
    (good / ".hidden.png").write_bytes(b"")
    outcome = run("inspect", bundle_file, good, "--json")
    assert outcome.status == 0
    assert "1 hidden image is left out" in outcome.stderr
    (good / "lost").symlink_to(tmp_path / "nowhere")
    outcome = run("inspect", bundle_file, good, "--json")
    rows = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert outcome.status == 2
    assert [row["path"] for row in rows if "error" in row] == [str(good / "lost")]
    assert len([row for row in rows if "decision" in row]) == 6
    [left_out] = [row for row in rows if row.get("event") == "left_out"]
    assert left_out == {"event": "left_out", "reason": "hidden", "count": 1, "first": str(good / ".hidden.png")}
    assert len(rows) == 8


class TestTheWrongBundle:
    QUESTION = "is this the right bundle?"

    def test_it_is_asked_where_nearly_all_is_rejected(self, run, bundle_file: Path, dark: Path, good: Path) -> None:
        outcome = run("inspect", bundle_file, dark)
        assert f"12 of 12 images are rejected: {self.QUESTION}" in outcome.stderr
        assert str(bundle_file) in outcome.stderr
        assert self.QUESTION in run("inspect", bundle_file, dark, "--json").stderr
        assert self.QUESTION not in run("inspect", bundle_file, good).stderr

    def test_few_images_raise_no_question(self, run, bundle_file: Path, dark: Path) -> None:
        assert self.QUESTION not in run("inspect", bundle_file, *sorted(dark.iterdir())[:4]).stderr

    def test_evaluate_asks_it_where_good_images_are_rejected(
        self, run, bundle_file: Path, product_folder: Path, tmp_path: Path
    ) -> None:
        product = make_tiny_product(seed=1)
        for number, image in enumerate(product.good):
            write_png(tmp_path / "other" / "test" / "good" / f"{number}.png", np.flip(255 - image, axis=1))
            write_png(tmp_path / "other" / "train" / "good" / f"{number}.png", image)
        write_png(tmp_path / "other" / "test" / "spot" / "0.png", product.defects[0].image)
        asked = run("evaluate", bundle_file, tmp_path / "other")
        assert f"16 of 16 good images are rejected: {self.QUESTION}" in asked.stderr
        notes = run("evaluate", bundle_file, tmp_path / "other", "--json").json["notes"]
        assert any(self.QUESTION in note for note in notes)
        assert self.QUESTION not in run("evaluate", bundle_file, product_folder).stderr


def test_the_scale_and_its_limit_are_told(run, bundle_file: Path, good: Path) -> None:
    scale = "scores are 0 to 100, rejected above 50"
    assert scale in run("inspect", bundle_file, good).stderr.splitlines()[-1]
    assert scale not in run("inspect", bundle_file, good, "--json").stderr


@pytest.mark.skipif(os.name == "nt", reason="needs a terminal")
def test_a_terminal_shows_what_the_columns_are(bundle_file: Path, good: Path) -> None:
    import pty

    first, second = pty.openpty()
    command = [sys.executable, "-m", "blemish.cli.main", "inspect", str(bundle_file), str(good)]
    told = subprocess.run(command, stdout=second, stderr=subprocess.PIPE, check=True, text=True).stderr
    os.close(second)
    os.close(first)
    assert told.splitlines()[0] == "verdict  score  image   (scores are 0 to 100, rejected above 50)"
