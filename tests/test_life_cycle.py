"""One bundle through its life: trained, used, drifted, calibrated anew, brought to int8, taken back, used again.

Each step is one command, as people give it; after each, all that people rely on is looked at: statuses, names of
bundles, the history with date, person and reason, promises, tables, overlays, and the drift watch.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.testing.tiny import TINY_HW, make_tiny_product, write_png, write_tiny_product
from blemish.workflow import quantize as quantize_recipe


@pytest.fixture(autouse=True)
def loose_bounds() -> Iterator[None]:
    """A network of random weights bears rounding badly."""
    with pytest.MonkeyPatch.context() as patch:
        for bound in ("MAP_BOUND", "SCORE_BOUND", "EACH_BOUND"):
            patch.setattr(quantize_recipe, bound, 100.0)
        yield


@dataclass(frozen=True)
class Line:
    """The folders of a line: the product it learned from, parts under the old lamp and the new, one bundle, one output.

    `later` and `more` are new good parts under the new lamp.
    """

    product: Path
    usual: Path
    dark: Path
    later: Path
    more: Path
    bundle: Path
    out: Path


@pytest.fixture
def line(tmp_path: Path) -> Line:
    product = make_tiny_product(num_good=24, num_held_out=12)
    write_tiny_product(tmp_path / "product", product)
    fresh = make_tiny_product(num_good=42, num_held_out=24, seed=5)
    for number, image in enumerate(product.held_out):
        write_png(tmp_path / "usual" / f"{number:03}.png", image)
    for name, images in (("dark", fresh.held_out), ("later", fresh.good[:30]), ("more", fresh.good[30:])):
        for number, image in enumerate(images):
            write_png(tmp_path / name / f"{number:03}.png", (image * 0.7).astype(np.uint8))
    return Line(
        tmp_path / "product",
        tmp_path / "usual",
        tmp_path / "dark",
        tmp_path / "later",
        tmp_path / "more",
        tmp_path / "part.blemish",
        tmp_path / "out",
    )


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (out / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()]


def watched(out: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((out / "drift.json").read_bytes())["state"]
    return state


def test_one_bundle_through_its_life(run, line: Line, backbone_description: str, tmp_path: Path) -> None:
    begun = datetime.now(timezone.utc).replace(microsecond=0)

    def history() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = run("info", line.bundle, "--history", "--json").json["calibrations"]
        for row in rows:
            assert begun <= datetime.fromisoformat(row["created"]) <= datetime.now(timezone.utc)
            assert row["by"]
            assert row["reason"]
        return rows

    def check_output(num_rows: int, bundle_ids: list[str]) -> list[dict[str, Any]]:
        """Tables agree, each row has its overlay, and no row of an earlier run is touched."""
        rows = rows_of(line.out)
        assert len(rows) == num_rows
        assert list(dict.fromkeys(row["bundle_id"] for row in rows)) == bundle_ids
        with (line.out / "verdicts.csv").open(encoding="utf-8-sig", newline="") as file:
            table = list(csv.DictReader(file))
        assert [(row["path"], row["decision"]) for row in table] == [(row["path"], row["decision"]) for row in rows]
        overlays = {line.out / row["overlay"] for row in rows}
        assert len(overlays) == num_rows
        assert overlays == set((line.out / "overlays").rglob("*.png"))
        return rows

    # Train: one whole file, a first calibration that says when, by whom and why.
    train = ("train", line.product, "-o", line.bundle, "--detector", "padim", "--backbone", backbone_description)
    trained = run(*train, "--size", "x".join(map(str, TINY_HW)), "--false-reject", "0.04", "--json")
    assert trained.status == 0
    first = run("info", line.bundle, "--json").json
    assert first["bundle_id"] == trained.json["bundle_id"]
    assert len(history()) == 1

    # Inspect: a verdict a part, in the tables and as an overlay, and a drift watch that counts them.
    outcome = run("inspect", line.bundle, line.usual, "-o", line.out)
    assert outcome.status == 0
    used = check_output(12, [first["bundle_id"]])
    assert (watched(line.out)["num_parts"], watched(line.out)["alarm"]) == (12, "")

    # Drift: the lamp is weaker; the alarm is told and stays.
    outcome = run("inspect", line.bundle, line.dark, "-o", line.out, "--fail-on-drift")
    assert outcome.status == 4
    assert "no longer look like the good images" in outcome.stderr
    assert check_output(36, [first["bundle_id"]])[:12] == used
    alarm = watched(line.out)["alarm"]
    assert alarm
    assert watched(line.out)["num_parts"] == 36

    # Calibrate anew with good parts under the new lamp: what was not given again is kept, and told.
    outcome = run("calibrate", line.bundle, line.later, "--reason", "the lamp was changed", "--by", "ann")
    assert outcome.status == 0
    second = run("info", line.bundle, "--json").json
    assert second["bundle_id"] != first["bundle_id"]
    assert second["graph_sha256"] == first["graph_sha256"]
    assert history()[1]["decides"]["false reject rate"].startswith("4 % wanted")
    assert [(row["by"], row["reason"]) for row in history()[1:]] == [("ann", "the lamp was changed")]

    # Inspect: the old watch tells nothing of the new calibration, so a new one begins, and says so.
    outcome = run("inspect", line.bundle, line.dark, "-o", line.out, "--fail-on-drift")
    assert outcome.status == 0
    assert str(line.out / "drift.json") in outcome.stderr
    assert "no longer look like" not in outcome.stderr
    seen = check_output(60, [first["bundle_id"], second["bundle_id"]])[36:]
    assert (watched(line.out)["num_parts"], watched(line.out)["alarm"]) == (24, "")
    num_rejected = sum(row["decision"] == "reject" for row in seen)

    # Quantize in place: thresholds and history are kept.
    outcome = run("quantize", line.bundle, line.more, "-o", line.bundle)
    assert outcome.status == 0, outcome.stderr
    third = run("info", line.bundle, "--json").json
    assert third["graph_sha256"] != second["graph_sha256"]
    assert third["threshold"] == second["threshold"]
    assert third["promise"] == second["promise"]
    assert len(history()) == 3

    # Restore: what the list calls restorable can be restored; what it does not is refused for the reason it names.
    for row in history()[:-1]:
        outcome = run("calibrate", line.bundle, "--restore", row["number"], "-o", tmp_path / "other.blemish")
        assert outcome.status == (2 if row["obstacle"] else 0)
        assert row["obstacle"] in outcome.stderr
    assert not history()[1]["obstacle"]
    outcome = run("calibrate", line.bundle, "--restore", 2, "--reason", "as before int8")
    assert outcome.status == 0
    restored = run("info", line.bundle, "--json").json
    assert restored["threshold"] == second["threshold"]
    assert restored["graph_sha256"] == third["graph_sha256"]
    assert [row["reason"] for row in history()][-1] == "as before int8"

    # Restart: another process, killed in the middle of a run, loses no verdict that it gave.
    before = len(rows_of(line.out))
    command = [sys.executable, "-m", "blemish.cli.main", "inspect", str(line.bundle), str(line.dark), "-o"]
    command += [str(line.out), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    told = [json.loads(process.stdout.readline()) for _ in range(3)]
    process.kill()
    told += [json.loads(text) for text in process.stdout.read().splitlines() if text.endswith(b"}")]
    process.stdout.close()
    process.wait()
    kept = [row["path"] for row in rows_of(line.out)[before:]]
    assert kept[: len(told)] == [row["path"] for row in told if "path" in row]

    # Inspect again: the same verdicts as before int8, and one more run in every table.
    done = subprocess.run([*command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = rows_of(line.out)[-24:]
    assert [row["decision"] for row in again].count("reject") == num_rejected
    assert {row["bundle_id"] for row in again} == {restored["bundle_id"]}
    assert len(rows_of(line.out)) - before - 24 == len(kept)
    assert abs(watched(line.out)["num_parts"] - len(kept) - 24) <= 1
    leftovers = [path.name for path in line.out.iterdir() if path.name.startswith(".")]
    assert leftovers == []
