"""SQLite and Parquet: every event once, also over a kill, and readable by others."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pytest

from blemish.errors import ImageError, OutputError
from blemish.line.events import Origin, Unreadable
from blemish.line.history import VERDICT_COLUMNS, HistorySink
from blemish.testing.line_checks import events_of_every_kind

TIME = datetime(2026, 11, 26, 12, 0, 0, 250, tzinfo=timezone.utc)


def unreadable(name: str) -> Unreadable:
    return Unreadable(Origin(name, time=TIME), ImageError(f"{name}: cut off"), "0123456789abcdef")


class TestHistory:
    def rows(self, path: Path, table: str = "verdicts") -> list[sqlite3.Row]:
        with closing(sqlite3.connect(path)) as file:
            file.row_factory = sqlite3.Row
            return list(file.execute(f"SELECT * FROM {table}"))

    def test_verdicts_and_events_are_kept(self, tmp_path: Path) -> None:
        with HistorySink(tmp_path / "h.db") as sink:
            for event in events_of_every_kind(tmp_path):
                sink.write(event)
        first, _, last = self.rows(tmp_path / "h.db")
        assert (first["decision"], first["score"], first["part_id"], first["lot_id"]) == (
            "reject",
            9.0,
            "part 7",
            "lot 3",
        )
        assert json.loads(first["regions"])[0]["box"] == [2, 3, 4, 5]
        assert json.loads(first["reasons"]) == ["rule 1"]
        assert (last["decision"], "cut off" in last["error"]) == (None, True)
        kinds = {row["kind"]: row["text"] for row in self.rows(tmp_path / "h.db", "events")}
        assert set(kinds) == {"drift", "left_out", "lot", "notice"}
        assert json.loads(kinds["lot"])["rejected"] == ["b"]

    def test_each_event_is_there_before_the_next(self, tmp_path: Path, judged_of) -> None:
        with HistorySink(tmp_path / "h.db") as sink:
            for count in (1, 2, 3):
                sink.write(judged_of(f"{count}.png"))
                assert len(self.rows(tmp_path / "h.db")) == count

    def test_the_same_file_is_kept_once(self, tmp_path: Path, judged_of) -> None:
        """A kill before the record was written lets a file be judged again."""
        origin = Origin("a.png", time=TIME)
        for bundle_id in ("0123456789abcdef", "0123456789abcdef", "fedcba9876543210"):
            with HistorySink(tmp_path / "h.db") as sink:
                sink.write(judged_of("a.png", origin=origin, bundle_id=bundle_id))
        assert [row["bundle_id"] for row in self.rows(tmp_path / "h.db")] == ["0123456789abcdef", "fedcba9876543210"]

    def test_two_programs_may_write_to_it(self, tmp_path: Path, judged_of) -> None:
        with HistorySink(tmp_path / "h.db") as one, HistorySink(tmp_path / "h.db") as other:
            for number in range(5):
                one.write(judged_of(f"one {number}"))
                other.write(judged_of(f"other {number}"))
        assert len(self.rows(tmp_path / "h.db")) == 10

    @pytest.mark.parametrize("content", [b"not a database, though long enough to look like one" * 3, None])
    def test_a_file_of_another_kind_is_left_alone(self, tmp_path: Path, content: bytes | None) -> None:
        path = tmp_path / "h.db"
        if content is None:
            with closing(sqlite3.connect(path)) as file:
                file.execute("CREATE TABLE verdicts (name TEXT)")
        else:
            path.write_bytes(content)
        before = path.read_bytes()
        with pytest.raises(OutputError, match=r"h\.db: .*choose another"), HistorySink(path):
            pass
        assert content is None or path.read_bytes() == before

    def test_its_columns_are_those_of_the_table(self) -> None:
        """But for regions: all of them here, the first one in columns of its own there."""
        from blemish.line.sinks import CSV_COLUMNS

        flat = {name for name in CSV_COLUMNS if not name.startswith("region_")}
        assert set(VERDICT_COLUMNS) - {"regions"} == flat


class TestParquet:
    @pytest.fixture(autouse=True)
    def small_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        parquet = pytest.importorskip("blemish.line.parquet") if pytest.importorskip("pyarrow") else None
        monkeypatch.setattr(parquet, "ROWS", 4)

    def rows(self, folder: Path) -> list[dict]:
        import pyarrow.parquet as pq

        return pq.read_table(folder).to_pylist()

    def sink(self, folder: Path):
        from blemish.line.parquet import ParquetSink

        return ParquetSink(folder)

    def test_rows_come_back_in_files_of_their_number(self, tmp_path: Path, judged_of) -> None:
        with self.sink(tmp_path / "t") as sink:
            for number in range(9):
                sink.write(judged_of(f"{number}.png", score=9.0, origin=Origin(f"{number}.png", time=TIME)))
            sink.write(unreadable("bad.png"))
        assert sorted(path.name for path in (tmp_path / "t").iterdir()) == [f"part-{n:06}.parquet" for n in (1, 2, 3)]
        rows = self.rows(tmp_path / "t")
        assert [row["path"] for row in rows] == [*(f"{number}.png" for number in range(9)), "bad.png"]
        assert rows[0]["time"] == TIME
        assert rows[0]["regions"][0]["box"] == [4, 6, 8, 6]
        assert (rows[0]["num_regions"], rows[-1]["num_regions"]) == (1, None)
        assert (rows[-1]["decision"], rows[-1]["error"]) == (None, "bad.png: cut off")

    def test_a_later_run_adds_files(self, tmp_path: Path, judged_of) -> None:
        for number in range(3):
            with self.sink(tmp_path / "t") as sink:
                sink.write(judged_of(f"{number}.png"))
        assert [row["path"] for row in self.rows(tmp_path / "t")] == ["0.png", "1.png", "2.png"]

    def test_a_kill_loses_no_row(self, tmp_path: Path, judged_of) -> None:
        killed = self.sink(tmp_path / "t")
        killed.__enter__()
        for number in range(6):
            killed.write(judged_of(f"{number}.png"))
        killed._opened.close()  # the lock goes with the process, and nothing else is done
        assert [row["path"] for row in self.rows(tmp_path / "t")] == [f"{number}.png" for number in range(4)]
        with self.sink(tmp_path / "t") as sink:
            sink.write(judged_of("6.png"))
        assert [row["path"] for row in self.rows(tmp_path / "t")] == [f"{number}.png" for number in range(7)]

    def test_rows_whose_file_was_finished_before_a_kill_are_not_written_twice(self, tmp_path: Path, judged_of) -> None:
        with self.sink(tmp_path / "t") as sink:
            sink.write(judged_of("0.png"))
        (tmp_path / "t" / "_part-000001.jsonl").write_text('{"path": "0.png"}\n')
        with self.sink(tmp_path / "t") as sink:
            sink.write(judged_of("1.png"))
        assert [row["path"] for row in self.rows(tmp_path / "t")] == ["0.png", "1.png"]

    def test_one_run_at_a_time_writes_to_a_folder(self, tmp_path: Path) -> None:
        with self.sink(tmp_path / "t"), pytest.raises(OutputError, match="another program"):
            self.sink(tmp_path / "t").__enter__()
