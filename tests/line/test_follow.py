"""A watched folder: each file once, when it is complete, whatever writes it and whatever happens to the program."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from blemish.datasets.left_out import LeftOut
from blemish.errors import DataError, ImageError
from blemish.line import follow
from blemish.line.events import Item
from blemish.line.follow import FollowSource
from blemish.line.sinks import JsonLinesSink, output_sinks
from blemish.line.sorting import RemoveSink, SortSink
from blemish.line.stream import run
from blemish.model import Model
from blemish.testing.tiny import TinyProduct, write_png


class Watcher:
    """Takes what a source gives, in a thread, with the time when it came."""

    def __init__(self, source: FollowSource) -> None:
        self.source = source
        self.given: list[tuple[float, Item | LeftOut]] = []
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        for given in self.source:
            self.given.append((time.monotonic(), given))

    @property
    def names(self) -> list[str]:
        return [Path(given.origin.name).name for _, given in self.given if isinstance(given, Item)]

    def wait_for(self, count: int, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while len(self.given) < count and time.monotonic() < end:
            time.sleep(0.002)
        assert len(self.given) >= count, self.given

    def nothing_more(self, seconds: float = 0.3) -> None:
        count = len(self.given)
        time.sleep(seconds)
        assert len(self.given) == count, self.given[count:]


@contextlib.contextmanager
def watching(folder: Path, **options: object) -> Iterator[Watcher]:
    source = FollowSource(folder, **options)  # type: ignore[arg-type]
    watcher = Watcher(source)
    try:
        yield watcher
    finally:
        source.close()


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    (tmp_path / "incoming").mkdir()
    return tmp_path / "incoming"


@pytest.fixture
def png(product: TinyProduct, tmp_path: Path) -> bytes:
    return write_png(tmp_path / "one.png", product.held_out[0]).read_bytes()


class TestWhatIsGiven:
    def test_files_that_are_there_and_those_that_come(self, incoming: Path, png: bytes) -> None:
        for name in ("2.png", "10.png"):
            (incoming / name).write_bytes(png)
            os.utime(incoming / name, (1_700_000_000, 1_700_000_000))
        with watching(incoming) as watcher:
            watcher.wait_for(2)
            (incoming / "3.png").write_bytes(png)
            watcher.wait_for(3)
            watcher.nothing_more()
        assert watcher.names == ["2.png", "10.png", "3.png"]
        item = watcher.given[0][1]
        assert isinstance(item, Item)
        assert item.content == png
        assert item.origin.time is not None
        assert item.origin.time.year == 2023

    def test_they_come_in_the_order_in_which_they_were_written(self, incoming: Path, png: bytes) -> None:
        for place, name in enumerate(("c.png", "a.png", "b.png")):
            (incoming / name).write_bytes(png)
            os.utime(incoming / name, (1_700_000_000 + place,) * 2)
        with watching(incoming) as watcher:
            watcher.wait_for(3)
        assert watcher.names == ["c.png", "a.png", "b.png"]

    def test_a_file_renamed_into_place_is_taken_under_its_last_name(self, incoming: Path, png: bytes) -> None:
        with watching(incoming) as watcher:
            for number in range(5):
                (incoming / f"{number}.png.part").write_bytes(png)
                time.sleep(0.05)
                (incoming / f"{number}.png.part").rename(incoming / f"{number}.png")
            watcher.wait_for(5)
            watcher.nothing_more()
        assert watcher.names == [f"{number}.png" for number in range(5)]

    @pytest.mark.parametrize("steps", [2, 9])
    def test_a_file_that_is_still_written_is_waited_for(self, incoming: Path, png: bytes, steps: int) -> None:
        """Also where the writer pauses for longer than a file must stay as it is."""
        with watching(incoming) as watcher:
            with (incoming / "slow.png").open("wb") as file:
                for step in range(steps):
                    file.write(png[len(png) * step // steps : len(png) * (step + 1) // steps])
                    file.flush()
                    time.sleep(follow.STILL_SECONDS * 3)
            watcher.wait_for(1)
        item = watcher.given[0][1]
        assert isinstance(item, Item)
        assert item.content == png

    def test_space_reserved_ahead_is_no_file(self, incoming: Path, png: bytes) -> None:
        """As a copy over the network does: the size is there first, the content comes later."""
        with watching(incoming) as watcher:
            with (incoming / "copied.png").open("wb") as file:
                file.truncate(len(png))
                file.flush()
                time.sleep(0.3)
                file.write(png)
            watcher.wait_for(1)
        item = watcher.given[0][1]
        assert isinstance(item, Item)
        assert item.content == png

    def test_a_damaged_file_is_given_after_a_while(
        self, incoming: Path, png: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(follow, "PATIENCE_SECONDS", 0.3)
        with watching(incoming) as watcher:
            (incoming / "cut.png").write_bytes(png[:100])
            (incoming / "whole.png").write_bytes(png)
            watcher.wait_for(2)
            watcher.nothing_more()
        assert watcher.names == ["whole.png", "cut.png"], "it holds up no other file"

    @pytest.mark.parametrize("how", ["rename", "write", "remove first"])
    def test_another_part_under_the_same_name_is_given_again(self, incoming: Path, png: bytes, how: str) -> None:
        with watching(incoming) as watcher:
            for count in range(1, 4):
                place = incoming / ("latest.part" if how == "rename" else "latest.png")
                if how == "remove first":
                    place.unlink(missing_ok=True)
                place.write_bytes(png)
                if how == "rename":
                    place.replace(incoming / "latest.png")
                watcher.wait_for(count)
                watcher.nothing_more(0.1)
        assert watcher.names == ["latest.png"] * 3

    def test_folders_that_come_later_are_looked_into(self, incoming: Path, png: bytes) -> None:
        with watching(incoming) as watcher:
            (incoming / "2026-11-26" / "late").mkdir(parents=True)
            (incoming / "2026-11-26" / "late" / "a.png").write_bytes(png)
            watcher.wait_for(1)
            shutil.rmtree(incoming / "2026-11-26")
            (incoming / "b.png").write_bytes(png)
            watcher.wait_for(2)
        assert watcher.names == ["a.png", "b.png"]

    def test_the_rule_of_the_lister_holds(self, incoming: Path, png: bytes, tmp_path: Path) -> None:
        (incoming / ".hidden.png").write_bytes(png)
        (incoming / "notes.txt").write_text("no image")
        (incoming / "other.heic").write_bytes(b"another kind")
        (incoming / "@eaDir").mkdir()
        (incoming / "@eaDir" / "thumb.png").write_bytes(png)
        with watching(incoming) as watcher:
            watcher.wait_for(2)
            watcher.nothing_more()
        assert {(given.path.name, given.reason) for _, given in watcher.given if isinstance(given, LeftOut)} == {
            (".hidden.png", "hidden"),
            ("other.heic", "other_suffix"),
        }
        assert watcher.names == []

    @pytest.mark.skipif(os.name == "nt", reason="there are no pipes among files")
    def test_what_is_no_file_is_told_and_never_opened(self, incoming: Path, png: bytes) -> None:
        os.mkfifo(incoming / "pipe.png")
        (incoming / "dead.png").symlink_to(incoming / "nowhere.png")
        with watching(incoming) as watcher:
            watcher.wait_for(2)
            (incoming / "a.png").write_bytes(png)
            watcher.wait_for(3)
        contents = {Path(item.origin.name).name: item.content for _, item in watcher.given if isinstance(item, Item)}
        assert isinstance(contents["pipe.png"], ImageError)
        assert isinstance(contents["dead.png"], ImageError)

    def test_the_output_folder_of_a_run_is_not_looked_into(self, incoming: Path, png: bytes) -> None:
        for folder in ("out", "sorted"):
            (incoming / folder / "reject").mkdir(parents=True)
            (incoming / folder / "reject" / "a.png").write_bytes(png)
        (incoming / "out" / "verdicts.jsonl").write_text("")
        with watching(incoming, without=[incoming / "sorted"]) as watcher:
            (incoming / "b.png").write_bytes(png)
            watcher.wait_for(1)
            watcher.nothing_more()
        assert watcher.names == ["b.png"]

    def test_a_share_that_goes_away_is_told_and_comes_back(self, incoming: Path, png: bytes) -> None:
        (incoming / "a.png").write_bytes(png)
        with watching(incoming) as watcher:
            watcher.wait_for(1)
            incoming.rename(incoming.with_name("away"))
            watcher.wait_for(2)
            assert watcher.given[1][1] == LeftOut(incoming.resolve(), "unlistable_folder")
            watcher.nothing_more()
            incoming.mkdir()
            watcher.nothing_more(0.1)
            incoming.rmdir()
            incoming.with_name("away").rename(incoming)
            (incoming / "b.png").write_bytes(png)
            watcher.wait_for(3)
        assert "b.png" in watcher.names
        assert watcher.names.count("a.png") == 1, "what was there before is known again"

    def test_no_folder_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no such folder"):
            FollowSource(tmp_path / "nowhere")

    def test_closing_ends_it_at_once(self, incoming: Path) -> None:
        source = FollowSource(incoming)
        ended = threading.Event()
        threading.Thread(target=lambda: (list(source), ended.set()), daemon=True).start()
        time.sleep(0.1)
        source.close()
        assert ended.wait(1.0)


def start(folder: Path, out: Path, *, moves: bool = False) -> tuple[FollowSource, list[object]]:
    """A source and sinks as `inspect --follow` puts them together."""
    source = FollowSource(folder, record=out / "verdicts.jsonl", finishes_moves=moves, without=[out])
    overlays, table, lines = output_sinks(out)
    sinks = [overlays, SortSink(out, is_moving=True), table, lines, RemoveSink()] if moves else [table, lines]
    return source, sinks


def rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "verdicts.jsonl").read_text("utf-8").splitlines()]


def judge(model: Model, folder: Path, out: Path, count: int, *, moves: bool = False, kill_at: str = "") -> None:
    """Runs a stream until it has given so many events; `kill_at` names the sink before which it is cut off."""
    source, sinks = start(folder, out, moves=moves)
    if kill_at:
        place = [type(sink).__name__ for sink in sinks].index(kill_at)

        def killed(event: object) -> None:
            raise KeyboardInterrupt

        sinks[place].write = killed  # type: ignore[attr-defined]
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(run(source, model.inspector, sinks)) as events:  # type: ignore[arg-type]
        for _ in range(count):
            next(events)


class TestOnceOverRestarts:
    def test_what_has_a_row_is_not_judged_again(self, model: Model, incoming: Path, png: bytes, tmp_path: Path) -> None:
        out = tmp_path / "out"
        for number in range(4):
            (incoming / f"{number}.png").write_bytes(png)
        judge(model, incoming, out, 4)
        (incoming / "4.png").write_bytes(png)
        (incoming / "2.png").write_bytes(png)  # another part under an old name
        judge(model, incoming, out, 2)
        names = sorted(Path(row["path"]).name for row in rows(out))
        assert names == ["0.png", "1.png", "2.png", "2.png", "3.png", "4.png"]

    def test_unreadable_images_are_told_once(
        self, model: Model, incoming: Path, png: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(follow, "PATIENCE_SECONDS", 0.1)
        (incoming / "bad.png").write_bytes(b"no image")
        judge(model, incoming, tmp_path / "out", 1)
        (incoming / "good.png").write_bytes(png)
        judge(model, incoming, tmp_path / "out", 1)
        assert [Path(row["path"]).name for row in rows(tmp_path / "out")] == ["bad.png", "good.png"]

    def test_files_are_moved_by_verdict(
        self, model: Model, incoming: Path, product: TinyProduct, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(follow, "PATIENCE_SECONDS", 0.1)
        write_png(incoming / "good.png", product.held_out[0])
        write_png(incoming / "scratch.png", product.defects[1].image)
        (incoming / "bad.png").write_bytes(b"no image")
        out = tmp_path / "out"
        judge(model, incoming, out, 3, moves=True)
        assert list(incoming.iterdir()) == []
        moved = sorted(path.relative_to(out).as_posix() for path in out.glob("*/*.png"))
        assert moved == ["accept/good.png", "reject/scratch.png", "unreadable/bad.png"]
        assert sorted(row["sorted_to"] for row in rows(out)) == moved
        write_png(incoming / "good.png", product.held_out[1])
        judge(model, incoming, out, 1, moves=True)
        assert rows(out)[-1]["sorted_to"] == "accept/good_2.png", "no file is replaced"

    @pytest.mark.parametrize("kill_at", ["OverlaySink", "SortSink", "CsvSink", "JsonLinesSink", "RemoveSink"])
    def test_a_kill_at_any_moment_loses_nothing_and_judges_nothing_twice(
        self, model: Model, incoming: Path, png: bytes, tmp_path: Path, kill_at: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("blemish.line.sinks.UNFINISHED_SECONDS", 0.0)
        out = tmp_path / "out"
        for number in range(3):
            (incoming / f"{number}.png").write_bytes(png)
            os.utime(incoming / f"{number}.png", (1_700_000_000 + number,) * 2)
        judge(model, incoming, out, 1, moves=True)
        judge(model, incoming, out, 1, moves=True, kill_at=kill_at)
        judge(model, incoming, out, 1 if kill_at == "RemoveSink" else 2, moves=True)
        assert [Path(row["path"]).name for row in rows(out)] == ["0.png", "1.png", "2.png"]
        assert len((out / "verdicts.csv").read_text("utf-8").splitlines()) == 4
        assert sorted(path.name for path in (out / "accept").iterdir()) == ["0.png", "1.png", "2.png"]
        assert list(incoming.iterdir()) == []

    def test_a_move_to_another_disk_is_a_copy_and_a_removal(
        self, model: Model, incoming: Path, png: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        link_really = os.link

        def link(source: Path, path: Path) -> None:
            if Path(source).parent == incoming.resolve():
                raise OSError(18, "Invalid cross-device link")
            link_really(source, path)

        monkeypatch.setattr(os, "link", link)
        (incoming / "a.png").write_bytes(png)
        judge(model, incoming, tmp_path / "out", 1, moves=True, kill_at="JsonLinesSink")
        judge(model, incoming, tmp_path / "out", 1, moves=True)
        assert list(incoming.iterdir()) == []
        assert [path.read_bytes() for path in (tmp_path / "out" / "accept").iterdir()] == [png]

    def test_a_file_changed_while_it_was_judged_is_left_and_judged_again(
        self, model: Model, incoming: Path, png: bytes, tmp_path: Path, product: TinyProduct
    ) -> None:
        (incoming / "a.png").write_bytes(png)
        source, sinks = start(incoming, tmp_path / "out", moves=True)
        write_really = sinks[0].write  # type: ignore[attr-defined]

        def write(event: object) -> object:
            if not rows_written:
                rows_written.append(1)
                write_png(incoming / "a.png", product.defects[1].image)
            return write_really(event)

        rows_written: list[int] = []
        sinks[0].write = write  # type: ignore[attr-defined]
        with contextlib.closing(run(source, model.inspector, sinks)) as events:  # type: ignore[arg-type]
            decisions = [
                event.verdict.decision
                for event in (next(events), next(events), next(events))
                if hasattr(event, "verdict")
            ]
        assert decisions == ["accept", "reject"]
        assert [path.name for path in (tmp_path / "out" / "reject").iterdir()] == ["a.png"]

    def test_a_damaged_record_is_named(self, incoming: Path, tmp_path: Path) -> None:
        (tmp_path / "verdicts.jsonl").write_text(
            json.dumps({"path": str(incoming.resolve() / "a.png"), "time": "never", "sorted_to": None}) + "\n"
        )
        (incoming / "a.png").write_bytes(b"x")
        with pytest.raises(DataError, match=r"verdicts\.jsonl: cannot be read"):
            next(iter(FollowSource(incoming, record=tmp_path / "verdicts.jsonl")))


def test_copies_by_verdict_leave_the_files(model: Model, parts: Path, tmp_path: Path) -> None:
    from blemish.line.sources import FileSource

    before = {path: path.read_bytes() for path in parts.iterdir()}
    list(run(FileSource([parts]), model.inspector, [SortSink(tmp_path / "out"), JsonLinesSink(tmp_path / "v.jsonl")]))
    assert {path: path.read_bytes() for path in parts.iterdir()} == before
    assert len(list((tmp_path / "out").glob("*/*.png"))) == 12
    assert np.all([(tmp_path / row["sorted_to"]).exists() for row in rows_of(tmp_path / "v.jsonl")])


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
