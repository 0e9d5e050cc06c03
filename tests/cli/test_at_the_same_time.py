"""The same files, used by several commands at the same time: nothing is lost, doubled or torn."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from blemish.bundle.read import read_bundle
from blemish.line.sinks import CSV_COLUMNS, CsvSink, JsonLinesSink
from blemish.model import train


@pytest.fixture(scope="module")
def bundle_file(product_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(product_folder, detector="template", size=64).save(tmp_path_factory.mktemp("shared") / "part.blemish")


def run_all(commands: Sequence[Sequence[object]]) -> list[list[dict[str, Any]]]:
    """What each of the commands, all begun at once, printed as JSON lines; all must end well."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "blemish.cli.main", *map(str, command), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for command in commands
    ]
    said = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0] * len(commands), said
    return [[json.loads(line) for line in output.splitlines()] for output, _ in said]


def test_inspections_into_one_folder(bundle_file: Path, product_folder: Path, tmp_path: Path) -> None:
    told = run_all([("inspect", bundle_file, product_folder / "test", "-o", tmp_path / "out")] * 4)
    verdicts = sorted(row["path"] for rows in told for row in rows if "decision" in row)
    assert len(verdicts) == 4 * 12
    lines = (tmp_path / "out" / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert sorted(row["path"] for row in rows) == verdicts
    with (tmp_path / "out" / "verdicts.csv").open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.reader(file))
    assert table.count(list(CSV_COLUMNS)) == 1
    assert sorted(row[0] for row in table[1:]) == verdicts
    overlays = {tmp_path / "out" / row["overlay"] for row in rows}
    assert overlays == set((tmp_path / "out" / "overlays").rglob("*.png"))
    assert len(overlays) == len(rows)
    assert json.loads((tmp_path / "out" / "drift.json").read_bytes())["state"]["num_parts"] == len(rows)
    assert list((tmp_path / "out").rglob(".*")) == []


def test_inspections_with_one_drift_watch(bundle_file: Path, product_folder: Path, tmp_path: Path) -> None:
    folders = ("good", "scratch", "spot", "good")
    told = run_all(
        [
            ("inspect", bundle_file, product_folder / "test" / name, "--drift-state", tmp_path / "w.json")
            for name in folders
        ]
    )
    state = json.loads((tmp_path / "w.json").read_bytes())["state"]
    assert state["num_parts"] == sum("decision" in row for rows in told for row in rows)


def test_studies_in_one_folder(product_folder: Path, tmp_path: Path) -> None:
    arguments = ("compare", product_folder, "--detectors", "template", "--size", "64", "-o", tmp_path, "--workers", "1")
    found = run_all([arguments] * 3)
    assert [len(rows[0]["rows"]) for rows in found] == [1] * 3
    assert len({json.dumps(rows[0]["rows"]) for rows in found}) == 1
    assert len(list((tmp_path / "bundles").iterdir())) == 1


def test_trainings_and_calibrations_of_one_file(bundle_file: Path, product_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "part.blemish"
    path.write_bytes(bundle_file.read_bytes())
    training = ("train", product_folder, "-o", path, "--detector", "template", "--size", "64", "--seed", "7")
    found = run_all([training, ("calibrate", path, "--false-reject", "0.3"), training])
    made = read_bundle(path)
    assert made.bundle_id in {rows[0]["bundle_id"] for rows in found}
    assert [entry.name for entry in tmp_path.iterdir()] == ["part.blemish"]


@pytest.mark.parametrize("kind", ["table", "lines"])
def test_a_table_that_many_begin_at_once_is_begun_once(kind: str, tmp_path: Path) -> None:
    make = CsvSink if kind == "table" else JsonLinesSink
    for number in range(30):
        path, ready, faults = tmp_path / f"{number}", threading.Barrier(6), []

        def begin(path: Path = path, ready: threading.Barrier = ready, faults: list[Exception] = faults) -> None:
            ready.wait()
            try:
                with make(path):
                    pass
            except Exception as error:
                faults.append(error)

        threads = [threading.Thread(target=begin) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        assert path.read_text(encoding="utf-8").count("\n") == (1 if kind == "table" else 0)


def test_a_run_that_begins_takes_nothing_from_one_that_writes(tmp_path: Path) -> None:
    """A row that another run is just writing looks torn."""
    path = tmp_path / "lines.jsonl"
    row = json.dumps({"path": "x" * 300_000}).encode() + b"\n"
    writer = JsonLinesSink(path)
    with writer:
        done = threading.Event()

        def begin_often() -> None:
            while not done.is_set():
                with JsonLinesSink(path):
                    pass

        others = threading.Thread(target=begin_often)
        others.start()
        for _ in range(60):
            writer._lines._write(row)
        done.set()
        others.join()
    assert path.read_bytes() == row * 60
