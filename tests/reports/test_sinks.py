"""Sinks: what was written stays written, whatever happens next."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from blemish.errors import OutputError
from blemish.line.sinks import CSV_COLUMNS, CsvSink, JsonLinesSink, OverlaySink, verdict_json

SCALE = (2.0, 5.0)
IMAGE = np.full((24, 32, 3), 128, dtype=np.uint8)


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_verdict_has_flat_names_and_no_map(verdict_of):
    found = verdict_json(verdict_of(score=9.0, reasons=("score 9 is over the threshold 5",)))
    assert list(found) == [
        "path",
        "decision",
        "score",
        "threshold",
        "p_value",
        "display_score",
        "regions",
        "milliseconds",
        "bundle_id",
        "reasons",
    ]
    assert found["decision"] == "reject"
    assert found["regions"][0]["box"] == [4, 6, 8, 6]
    assert found["regions"][0]["area_mm2"] is None


def test_numbers_that_json_does_not_know_become_null(verdict_of, region_of):
    found = verdict_json(verdict_of(score=float("inf"), p_value=float("nan"), regions=(region_of(peak_score=np.inf),)))
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text)["score"] is None
    assert json.loads(text)["regions"][0]["peak_score"] is None


def test_numpy_numbers_become_plain_ones(verdict_of, region_of):
    box = tuple(np.array([1, 2, 3, 4]))
    json.dumps(verdict_json(verdict_of(score=np.float32(9.5), regions=(region_of(box),))), allow_nan=False)


def test_each_line_is_there_before_the_next_verdict(tmp_path: Path, verdict_of):
    with JsonLinesSink(tmp_path / "v.jsonl") as lines, CsvSink(tmp_path / "v.csv") as table:
        for count in (1, 2, 3):
            verdict = verdict_of(f"part_{count}.png")
            lines.write(verdict)
            table.write(verdict)
            assert len(read_lines(tmp_path / "v.jsonl")) == count
            assert len((tmp_path / "v.csv").read_text(encoding="utf-8").splitlines()) == count + 1


def test_a_killed_run_loses_no_verdict(tmp_path: Path):
    program = (
        "import os, sys; from pathlib import Path; import numpy as np\n"
        "from blemish.line.sinks import JsonLinesSink; from blemish.schema import Verdict\n"
        "with JsonLinesSink(Path(sys.argv[1])) as sink:\n"
        "    for n in range(5):\n"
        "        sink.write(Verdict(str(n), 'accept', 1.0, 2.0, 0.5, 25.0, (), 1.0, 'b', (4, 4), np.zeros((2, 2))))\n"
        "    os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "v.jsonl")], check=False)
    assert done.returncode == 9
    assert [line["path"] for line in read_lines(tmp_path / "v.jsonl")] == ["0", "1", "2", "3", "4"]


def test_a_later_run_adds_to_the_file(tmp_path: Path, verdict_of):
    for path in ("a.png", "b.png"):
        with JsonLinesSink(tmp_path / "v.jsonl") as lines, CsvSink(tmp_path / "v.csv") as table:
            lines.write(verdict_of(path))
            table.write(verdict_of(path))
    assert [line["path"] for line in read_lines(tmp_path / "v.jsonl")] == ["a.png", "b.png"]
    with (tmp_path / "v.csv").open(encoding="utf-8", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["a.png", "b.png"]


@pytest.mark.parametrize("torn", ['{"path": "to', "{" * 200_000])
def test_a_torn_last_line_is_taken_off(tmp_path: Path, verdict_of, torn):
    path = tmp_path / "v.jsonl"
    path.write_text('{"path": "whole"}\n' + torn, encoding="utf-8")
    with JsonLinesSink(path) as sink:
        sink.write(verdict_of("next.png"))
    assert [line["path"] for line in read_lines(path)] == ["whole", "next.png"]


def test_a_file_with_nothing_but_a_torn_line_begins_anew(tmp_path: Path, verdict_of):
    (tmp_path / "v.csv").write_text("path,deci", encoding="utf-8")
    with CsvSink(tmp_path / "v.csv") as sink:
        sink.write(verdict_of("a.png"))
    with (tmp_path / "v.csv").open(encoding="utf-8", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["a.png"]


def test_a_table_row_survives_commas_quotes_and_letters(tmp_path: Path, verdict_of):
    path = 'Los 7, "früh"/Ω.png'
    with CsvSink(tmp_path / "v.csv") as sink:
        sink.write(verdict_of(path, score=9.0, reasons=("first", "second")))
    with (tmp_path / "v.csv").open(encoding="utf-8", newline="") as file:
        [row] = csv.DictReader(file)
    assert tuple(row) == CSV_COLUMNS
    assert row["path"] == path
    assert row["num_regions"] == "1"
    assert json.loads(row["regions"])[0]["box"] == [4, 6, 8, 6]
    assert row["reasons"] == "first; second"


def test_a_line_break_in_a_path_does_not_break_the_table(tmp_path: Path, verdict_of):
    with CsvSink(tmp_path / "v.csv") as sink:
        sink.write(verdict_of("two\nlines.png"))
    with (tmp_path / "v.csv").open(encoding="utf-8", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["two\\nlines.png"]


def test_a_table_of_another_kind_is_left_alone(tmp_path: Path):
    path = tmp_path / "orders.csv"
    path.write_text("order,price\n1,20\n", encoding="utf-8")
    with pytest.raises(OutputError, match=r"orders\.csv: already holds a table with other columns"), CsvSink(path):
        pass
    assert path.read_text(encoding="utf-8") == "order,price\n1,20\n"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "v.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"v\.jsonl: cannot be written"), JsonLinesSink(tmp_path / "v.jsonl"):
        pass


def test_a_closed_sink_takes_nothing(tmp_path: Path, verdict_of):
    sink = JsonLinesSink(tmp_path / "v.jsonl")
    with pytest.raises(ValueError, match="not open"):
        sink.write(verdict_of())


def test_overlays_keep_the_folder_of_the_image(tmp_path: Path, verdict_of):
    with OverlaySink(tmp_path / "out", SCALE) as sink:
        for path in ("test/good/000.png", "test/crack/000.png", "alone.png"):
            sink.write(verdict_of(path), IMAGE)
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert found == ["alone.png", "crack/000.png", "good/000.png"]


def test_two_images_never_share_an_overlay(tmp_path: Path, verdict_of):
    paths = ["a/good/1.png", "b/good/1.png", "b/good/1.jpg", "b/GOOD/1.png", "x/1_2.png", "a.b/c.d.png"]
    with OverlaySink(tmp_path, SCALE) as sink:
        places = [sink.path_of(path) for path in paths]
        again = sink.path_of(paths[1])
    assert len({str(place).casefold() for place in places}) == len(paths)
    assert again == places[1], "the same image again is the same file"
    assert places[-1].name == "c.d.png"


@pytest.mark.parametrize("path", ["", "..", "C:\\parts\\7.png", "con/a:b?.png", "a\x00b.png"])
def test_overlays_stay_in_their_folder(tmp_path: Path, verdict_of, path):
    with OverlaySink(tmp_path / "out", SCALE) as sink:
        sink.write(verdict_of(path), IMAGE)
        place = sink.path_of(path)
    assert place.exists()
    assert (tmp_path / "out").resolve() in place.resolve().parents


def test_an_overlay_needs_the_image(tmp_path: Path, verdict_of):
    with OverlaySink(tmp_path, SCALE) as sink, pytest.raises(OutputError, match=r"a\.png: an overlay needs the image"):
        sink.write(verdict_of("a.png"))
