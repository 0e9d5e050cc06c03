"""Sinks: what was written stays written, whatever happens next."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from blemish.errors import ImageError, OutputError
from blemish.line.events import DriftAlarm, Origin, Unreadable
from blemish.line.sinks import CSV_COLUMNS, CsvSink, JsonLinesSink, OverlaySink, event_row, output_sinks
from blemish.watching.drift import DriftReport

PNG = b"a picture"
TIME = datetime(2026, 11, 26, 12, 0, 0, 250, tzinfo=timezone.utc)
HEADER = ",".join(CSV_COLUMNS) + "\n"


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_table(path: Path) -> list[dict]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def keep(sinks, *events) -> None:
    """The events, each taken by all sinks in turn."""
    for event in events:
        for sink in sinks:
            event = sink.write(event) or event


def write_run(folder: Path, *events) -> None:
    sinks = output_sinks(folder)
    for sink in sinks:
        sink.__enter__()
    keep(sinks, *events)
    for sink in sinks:
        sink.__exit__(None, None, None)


class TestRows:
    def test_a_verdict_has_flat_names_and_no_map(self, judged_of):
        found = event_row(judged_of(score=9.0, reasons=("score 9 is over the threshold 5",)))
        assert " ".join(found) == (
            "path time decision score threshold p_value display_score num_regions regions milliseconds bundle_id "
            "reasons overlay sorted_to part_id lot_id"
        )
        assert found["decision"] == "reject"
        assert found["regions"][0]["box"] == [4, 6, 8, 6]
        assert found["regions"][0]["area_mm2"] is None

    def test_an_unreadable_item_has_an_error_and_no_decision(self):
        found = event_row(Unreadable(Origin("a.png", time=TIME), ImageError("a.png: cut off"), "0123456789abcdef"))
        assert (found["error"], found["time"]) == ("a.png: cut off", "2026-11-26T12:00:00.000250+00:00")
        assert "decision" not in found

    def test_a_drift_alarm_is_an_event(self):
        found = event_row(DriftAlarm(DriftReport(7, "brightness", 1.5, True, "Part 7: ...")))
        assert found["event"] == "drift"
        assert (found["condition"], found["num_parts"], found["sentence"]) == ("brightness", 7, "Part 7: ...")

    def test_numbers_that_json_does_not_know_become_null(self, judged_of, region_of):
        event = judged_of(score=float("inf"), p_value=float("nan"), regions=(region_of(peak_score=np.inf),))
        found = json.loads(json.dumps(event_row(event), allow_nan=False))
        assert found["score"] is None
        assert found["regions"][0]["peak_score"] is None

    def test_numpy_numbers_become_plain_ones(self, judged_of, region_of):
        box = tuple(np.array([1, 2, 3, 4]))
        json.dumps(event_row(judged_of(score=np.float32(9.5), regions=(region_of(box),))), allow_nan=False)


class TestTables:
    def test_each_line_is_there_before_the_next_verdict(self, tmp_path: Path, judged_of):
        with JsonLinesSink(tmp_path / "v.jsonl") as lines, CsvSink(tmp_path / "v.csv") as table:
            for count in (1, 2, 3):
                keep((lines, table), judged_of(f"part_{count}.png"))
                assert len(read_lines(tmp_path / "v.jsonl")) == count
                assert len(read_table(tmp_path / "v.csv")) == count

    def test_a_killed_run_loses_no_verdict(self, tmp_path: Path):
        program = (
            "import os, sys; from pathlib import Path; import numpy as np\n"
            "from blemish.line.events import Judged, Origin\n"
            "from blemish.line.sinks import JsonLinesSink; from blemish.schema import Verdict\n"
            "with JsonLinesSink(Path(sys.argv[1])) as sink:\n"
            "    for n in range(5):\n"
            "        verdict = Verdict(str(n), 'accept', 1.0, 2.0, 0.5, 25.0, (), 1.0, 'b', (4, 4), np.zeros((2, 2)))\n"
            "        sink.write(Judged(Origin(str(n)), verdict))\n"
            "    os._exit(9)\n"
        )
        done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "v.jsonl")], check=False)
        assert done.returncode == 9
        assert [line["path"] for line in read_lines(tmp_path / "v.jsonl")] == ["0", "1", "2", "3", "4"]

    def test_a_later_run_adds_to_the_files(self, tmp_path: Path, judged_of):
        for path in ("a.png", "b.png"):
            with JsonLinesSink(tmp_path / "v.jsonl") as lines, CsvSink(tmp_path / "v.csv") as table:
                keep((lines, table), judged_of(path))
        assert [line["path"] for line in read_lines(tmp_path / "v.jsonl")] == ["a.png", "b.png"]
        assert [row["path"] for row in read_table(tmp_path / "v.csv")] == ["a.png", "b.png"]

    def test_images_without_verdict_have_a_row(self, tmp_path: Path):
        event = Unreadable(Origin("a.png"), ImageError("a.png: cut off"), "0123456789abcdef")
        write_run(tmp_path, event)
        [line], [row] = read_lines(tmp_path / "verdicts.jsonl"), read_table(tmp_path / "verdicts.csv")
        assert (line["error"], row["error"], row["decision"]) == ("a.png: cut off", "a.png: cut off", "")

    def test_a_table_row_survives_commas_quotes_and_letters(self, tmp_path: Path, judged_of):
        path = 'Los 7, "früh"/Ω.png'
        with CsvSink(tmp_path / "v.csv") as sink:
            sink.write(judged_of(path, score=9.123456789, reasons=("first", "second")))
        [row] = read_table(tmp_path / "v.csv")
        assert tuple(row) == CSV_COLUMNS
        assert (row["path"], row["num_regions"], row["reasons"]) == (path, "1", "first; second")
        assert row["score"] == "9.12346", "digits that mean nothing make a table hard to read"
        assert [row[f"region_{side}"] for side in ("x", "y", "width", "height")] == ["4", "6", "8", "6"]
        assert not any("[" in cell or "{" in cell for cell in row.values())

    def test_a_spreadsheet_program_knows_the_letters_and_the_time(self, tmp_path: Path, judged_of):
        taken = datetime(2026, 11, 26, 10, 20, 30, 456789, tzinfo=timezone(timedelta(hours=1)))
        with CsvSink(tmp_path / "v.csv") as sink:
            sink.write(judged_of("ä.png", origin=Origin("ä.png", time=taken)))
        with CsvSink(tmp_path / "v.csv") as sink:
            sink.write(judged_of("ö.png"))
        content = (tmp_path / "v.csv").read_bytes()
        assert content.startswith(b"\xef\xbb\xbfpath,time,decision,")
        assert content.count(b"\xef\xbb\xbf") == 1
        [row, _] = read_table(tmp_path / "v.csv")
        local = taken.astimezone()
        assert row["time"] == f"{local:%Y-%m-%d %H:%M:%S}.456"
        assert datetime.fromisoformat(row["time"]).astimezone() == local.replace(microsecond=456000)

    def test_numbers_are_rounded_for_reading(self, tmp_path: Path, judged_of):
        with CsvSink(tmp_path / "v.csv") as sink:
            sink.write(judged_of("a.png"))
        [row] = read_table(tmp_path / "v.csv")
        for name in ("display_score", "region_area_px", "region_length_px", "milliseconds"):
            assert len(row[name].partition(".")[2]) <= 1, name

    def test_a_table_that_an_earlier_program_began_without_the_mark_goes_on(self, tmp_path: Path, judged_of):
        (tmp_path / "v.csv").write_text(HEADER, encoding="utf-8")
        with CsvSink(tmp_path / "v.csv") as sink:
            sink.write(judged_of("a.png"))
        assert [row["path"] for row in read_table(tmp_path / "v.csv")] == ["a.png"]

    @pytest.mark.parametrize("path", ["two\nlines.png", "\x1b[31m.png", "a\u2028b.png"])
    def test_no_name_breaks_the_table(self, tmp_path: Path, judged_of, path):
        with CsvSink(tmp_path / "v.csv") as sink:
            sink.write(judged_of(path))
        assert len((tmp_path / "v.csv").read_text("utf-8").splitlines()) == 2

    @pytest.mark.parametrize("path", ["=1+1.png", "+1.png", "-1.png", "@SUM(A1).png", " =1.png"])
    def test_no_cell_is_a_formula(self, tmp_path: Path, judged_of, path):
        with CsvSink(tmp_path / "v.csv") as sink:
            sink.write(judged_of(path, reasons=(path,), origin=Origin(path, part_id=path, lot_id=path)))
        [row] = read_table(tmp_path / "v.csv")
        assert not any(cell.lstrip().startswith(("=", "+", "-", "@")) for cell in row.values())

    def test_a_place_that_cannot_be_written_is_named(self, tmp_path: Path):
        (tmp_path / "v.jsonl").mkdir()
        with pytest.raises(OutputError, match=r"v\.jsonl: cannot be written"), JsonLinesSink(tmp_path / "v.jsonl"):
            pass

    def test_a_closed_sink_takes_nothing(self, tmp_path: Path, judged_of):
        with pytest.raises(ValueError, match="not open"):
            JsonLinesSink(tmp_path / "v.jsonl").write(judged_of())


class TestWhatStandsInAFile:
    @pytest.mark.parametrize("torn", ['{"path": "to', "{" * 200_000, '{"path": "a", "score": 0.'])
    def test_a_torn_last_line_is_taken_off(self, tmp_path: Path, judged_of, torn):
        (tmp_path / "v.jsonl").write_text('{"path": "whole"}\n' + torn, encoding="utf-8")
        with JsonLinesSink(tmp_path / "v.jsonl") as sink:
            sink.write(judged_of("next.png"))
        assert [line["path"] for line in read_lines(tmp_path / "v.jsonl")] == ["whole", "next.png"]

    @pytest.mark.parametrize("before", ["", '{"path": "first"}\n', '{"path": "first"}\r\n'])
    def test_a_whole_line_that_lacks_its_end_is_kept(self, tmp_path: Path, judged_of, before):
        (tmp_path / "v.jsonl").write_bytes(before.encode() + b'{"path": "only"}')
        with JsonLinesSink(tmp_path / "v.jsonl") as sink:
            sink.write(judged_of("next.png"))
        assert [line["path"] for line in read_lines(tmp_path / "v.jsonl")][-2:] == ["only", "next.png"]

    def test_a_header_that_lacks_its_end_is_kept(self, tmp_path: Path, judged_of):
        (tmp_path / "v.csv").write_text(HEADER[:-1], encoding="utf-8")
        with CsvSink(tmp_path / "v.csv") as sink:
            sink.write(judged_of("a.png"))
        assert [row["path"] for row in read_table(tmp_path / "v.csv")] == ["a.png"]

    def test_a_row_that_lacks_its_end_is_kept_where_it_is_whole(self, tmp_path: Path, judged_of):
        with CsvSink(tmp_path / "v.csv") as sink:
            sink.write(judged_of("a.png"))
        whole = (tmp_path / "v.csv").read_bytes()
        for cut, expected in ((1, ["a.png", "b.png"]), (2, ["b.png"]), (30, ["b.png"])):
            (tmp_path / "v.csv").write_bytes(whole[:-cut])
            with CsvSink(tmp_path / "v.csv") as sink:
                sink.write(judged_of("b.png"))
            assert [row["path"] for row in read_table(tmp_path / "v.csv")] == expected

    def test_a_file_with_nothing_but_a_torn_header_begins_anew(self, tmp_path: Path, judged_of):
        (tmp_path / "v.csv").write_text("path,ti", encoding="utf-8")
        with CsvSink(tmp_path / "v.csv") as sink:
            sink.write(judged_of("a.png"))
        assert [row["path"] for row in read_table(tmp_path / "v.csv")] == ["a.png"]

    @pytest.mark.parametrize("name", ["v.csv", "v.jsonl"])
    @pytest.mark.parametrize("content", ["order,price\n1,20\n", "order,price", "my notes", "\x00\x01"])
    def test_a_file_of_another_kind_is_left_alone(self, tmp_path: Path, name, content, judged_of):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        sink = CsvSink(path) if name == "v.csv" else JsonLinesSink(path)
        with pytest.raises(OutputError, match=r"already holds .*; choose another file"), sink:
            pass
        assert path.read_text(encoding="utf-8") == content

    @pytest.mark.parametrize("gone", [shutil.rmtree, lambda folder: folder.rename(folder.with_name("old"))])
    def test_a_folder_removed_or_renamed_in_mid_run_is_told_and_made_again(self, tmp_path: Path, judged_of, gone):
        folder = tmp_path / "out"
        lines, table = JsonLinesSink(folder / "v.jsonl"), CsvSink(folder / "v.csv")
        with lines, table:
            keep((lines, table), judged_of("a.png"))
            gone(folder)
            for sink in (lines, table):
                with pytest.raises(OutputError, match=r"v\.\w+: was removed or renamed .* it was made again"):
                    sink.write(judged_of("b.png"))
            keep((lines, table), judged_of("c.png"))
        assert [row["path"] for row in read_lines(folder / "v.jsonl")] == ["b.png", "c.png"]
        assert [row["path"] for row in read_table(folder / "v.csv")] == ["b.png", "c.png"]

    @pytest.mark.skipif(os.name == "nt", reason="needs a limit on file sizes")
    def test_a_full_disk_leaves_whole_lines(self, tmp_path: Path):
        program = (
            "import resource, sys; from pathlib import Path\n"
            "sys.path.insert(0, sys.argv[2]); from conftest import make_judged\n"
            "from blemish.errors import OutputError; from blemish.line.sinks import JsonLinesSink\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
            "failed = 0\n"
            "with JsonLinesSink(Path(sys.argv[1])) as sink:\n"
            "    for number in range(6):\n"
            "        if number == 4: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
            "        try: sink.write(make_judged(f'{number}.png'))\n"
            "        except OutputError as error: failed += 1\n"
            "print(failed)\n"
        )
        arguments = [sys.executable, "-c", program, str(tmp_path / "v.jsonl"), str(Path(__file__).parent)]
        done = subprocess.run(arguments, check=True, capture_output=True, text=True)
        kept = [row["path"] for row in read_lines(tmp_path / "v.jsonl")]
        assert len(kept) == 6 - int(done.stdout)
        assert kept[-2:] == ["4.png", "5.png"], "once there is room again, lines are kept again"


class TestOverlays:
    def drawn(self, folder: Path) -> list[str]:
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))

    def test_they_keep_the_folder_of_the_image(self, tmp_path: Path, judged_of):
        with OverlaySink(tmp_path / "out") as sink:
            keep(
                [sink], *(judged_of(path, picture=PNG) for path in ("test/good/000.png", "crack/000.png", "alone.png"))
            )
        assert self.drawn(tmp_path / "out") == ["alone.png", "crack/000.png", "good/000.png"]

    def test_two_images_never_share_one(self, tmp_path: Path, judged_of):
        paths = ["a/good/1.png", "b/good/1.png", "b/good/1.jpg", "x/1_2.png", "a.b/c.d.png", "b/good/1.png"]
        with OverlaySink(tmp_path) as sink:
            places = [sink.write(judged_of(path, picture=PNG)).overlay for path in paths]
        assert len({str(place) for place in places}) == len(paths)
        assert places[4].name == "c.d.png"

    def test_a_second_run_replaces_none(self, tmp_path: Path, judged_of):
        for content in (b"first", b"second", b"third"):
            write_run(tmp_path, judged_of("good/1.png", picture=content))
        rows = read_lines(tmp_path / "verdicts.jsonl")
        assert [(tmp_path / row["overlay"]).read_bytes() for row in rows] == [b"first", b"second", b"third"]
        assert [row["overlay"] for row in read_table(tmp_path / "verdicts.csv")] == [row["overlay"] for row in rows]

    def test_a_name_that_comes_ten_thousand_times_is_quick(self, tmp_path: Path, judged_of, monkeypatch):
        tried = []
        monkeypatch.setattr("blemish.line.sinks.write_new_file", lambda path, content: tried.append(path) or True)
        with OverlaySink(tmp_path) as sink:
            keep([sink], *(judged_of("line/image.png", picture=PNG) for _ in range(10_000)))
        assert len(tried) == len(set(tried)) == 10_000

    @pytest.mark.parametrize(
        "path", ["", "..", "C:\\parts\\7.png", "con/a:b?.png", "a\x00b.png", "部" * 84 + ".png", "\udcfc.png"]
    )
    def test_they_stay_in_their_folder(self, tmp_path: Path, judged_of, path):
        with OverlaySink(tmp_path / "out") as sink:
            for _ in range(2):
                place = sink.write(judged_of(path, picture=PNG, origin=Origin(path))).overlay
                assert place.read_bytes() == PNG
                assert (tmp_path / "out").resolve() in place.resolve().parents

    def test_an_overlay_needs_the_picture(self, tmp_path: Path, judged_of):
        with OverlaySink(tmp_path) as sink, pytest.raises(OutputError, match=r"a\.png: an overlay needs the picture"):
            sink.write(judged_of("a.png"))


class TestAKillBetweenTwoTables:
    """The JSON line is written last: a row of the table without it is taken off by the next run."""

    def test_the_row_without_its_line_is_taken_off(self, tmp_path: Path, judged_of, monkeypatch):
        monkeypatch.setattr("blemish.line.sinks.UNFINISHED_SECONDS", 0.0)
        events = [
            judged_of(f"{number}.png", picture=PNG, origin=Origin(f"{number}.png", time=TIME)) for number in range(4)
        ]
        for first in (0, 1):
            folder = tmp_path / str(first)
            write_run(folder, *events[:first])
            with CsvSink(folder / "verdicts.csv") as table:  # and then the kill
                table.write(events[first])
            write_run(folder, *events[first:])
            paths = [row["path"] for row in read_lines(folder / "verdicts.jsonl")]
            assert paths == [row["path"] for row in read_table(folder / "verdicts.csv")]
            assert paths == ["0.png", "1.png", "2.png", "3.png"]

    def test_nothing_is_taken_off_without_a_kill(self, tmp_path: Path, judged_of, monkeypatch):
        monkeypatch.setattr("blemish.line.sinks.UNFINISHED_SECONDS", 0.0)
        for path in ("a.png", "b.png", "b.png", "c.png"):
            write_run(tmp_path, judged_of(path, picture=PNG))
        assert len(read_table(tmp_path / "verdicts.csv")) == 4
        (tmp_path / "verdicts.jsonl").unlink()
        write_run(tmp_path, judged_of("d.png", picture=PNG))
        assert len(read_table(tmp_path / "verdicts.csv")) == 5
