"""A stream gives the same verdicts on all cores, in order, whatever happens to one image or one sink."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.datasets.left_out import LeftOut
from blemish.datasets.listing import list_images
from blemish.decisions.zones import zone_from_mask
from blemish.errors import DataError, ImageError, OutputError, SettingsError
from blemish.inspection.inspector import Inspector
from blemish.line import stream
from blemish.line.events import (
    DriftAlarm,
    End,
    Event,
    Item,
    Judged,
    LotJudged,
    Notice,
    Origin,
    SinkFault,
    Unreadable,
)
from blemish.line.sinks import output_sinks
from blemish.line.sources import ArraySource, FileSource
from blemish.line.stream import run
from blemish.model import Model, train
from blemish.schema import Image, ReadSettings, Verdict
from blemish.testing.tiny import TinyProduct, make_tiny_product, write_png
from blemish.watching.watch import Watch


class ListSink:
    """Keeps events in a list; fails where `fails` says so."""

    def __init__(self, *, needs_picture: bool = False, fails: Any = lambda event: False) -> None:
        self.needs_picture, self.fails = needs_picture, fails
        self.events: list[Event] = []
        self.is_open = False

    def __enter__(self) -> ListSink:
        self.is_open = True
        return self

    def __exit__(self, *error: object) -> None:
        self.is_open = False

    def write(self, event: Event) -> None:
        assert self.is_open
        if self.fails(event):
            raise OutputError("list: cannot be written (it is full)")
        self.events.append(event)


def plain(verdict: Verdict) -> Verdict:
    return dataclasses.replace(verdict, milliseconds=0.0)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def judged(events: Any) -> list[Judged]:
    return [event for event in events if isinstance(event, Judged)]


def only(events: Any, kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_verdicts_are_those_of_one_image_after_the_other(model: Model, parts: Path, four_cores: None) -> None:
    paths = list_images([parts]).images
    inspector = Inspector(model.bundle, watch_drift=True)
    expected = [plain(inspector.inspect(path)) for path in paths]
    many = Inspector(model.bundle, threads=1, watch_drift=True)
    *events, end = run(FileSource([parts]), many)
    found = [plain(event.verdict) for event in judged(events)]
    assert found == expected
    assert [verdict.conditions for verdict in found] == [verdict.conditions for verdict in expected]
    assert [event.origin.path for event in judged(events)] == list(paths)
    assert isinstance(end, End)
    assert (end.num_images, end.counts["unreadable"], end.num_faults) == (12, 0, 0)


def test_items_of_every_kind_give_the_same_verdict(model: Model, parts: Path, product: TinyProduct) -> None:
    path = parts / "00.png"
    contents = [path, path.read_bytes(), product.held_out[0], ImageError("a.png: the camera gave nothing")]
    items = [Item(Origin(f"part {number}", part_id=str(number)), content) for number, content in enumerate(contents)]
    *events, _ = run(ArraySource(items), model.inspector)
    assert len({event.verdict.score for event in judged(events)}) == 1
    assert [event.origin.part_id for event in events] == ["0", "1", "2", "3"]
    assert [event.verdict.path for event in judged(events)] == ["part 0", "part 1", "part 2"]
    assert "the camera gave nothing" in str(events[3].error)
    assert events[0].origin.time is not None, "a file knows when it was changed"


def test_the_drift_watch_sees_parts_in_order(model: Model, parts: Path, four_cores: None, tmp_path: Path) -> None:
    paths = list_images([parts]).images * 4
    inspector = Inspector(model.bundle, threads=1, watch_drift=True)
    states = []
    for num_threads in (1, 4):
        watch = Watch(model.calibration, tmp_path / f"{num_threads}.json")
        source = ArraySource([Item(Origin(str(path), path), path) for path in paths])
        *events, _ = run(source, inspector, watch=watch, num_threads=num_threads)
        states.append((tmp_path / f"{num_threads}.json").read_bytes())
        assert len(judged(events)) == 48
    assert states[0] == states[1]


def test_a_watch_needs_an_inspector_that_measures(model: Model, parts: Path, tmp_path: Path) -> None:
    watch = Watch(model.calibration, tmp_path / "drift.json", print)
    with pytest.raises(SettingsError, match="watch_drift=True"):
        next(run(FileSource([parts]), Inspector(model.bundle), watch=watch))


def test_a_drift_alarm_is_an_event_behind_the_part_that_raised_it(tmp_path: Path) -> None:
    model = train(list(make_tiny_product(num_good=80).good), detector="template", size=64)
    dark = [np.full((64, 64, 3), number % 7, np.uint8) for number in range(40)]
    inspector = Inspector(model.bundle, watch_drift=True)
    sink = ListSink()
    watch = Watch(model.calibration, tmp_path / "drift.json")
    *events, _ = run(ArraySource(dark), inspector, [sink], watch=watch)
    [alarm] = only(events, DriftAlarm)
    part = int(alarm.report.sentence.removeprefix("Part ").partition(":")[0])
    assert events.index(alarm) == part, "behind as many verdicts"
    assert sink.events == events
    again = list(run(ArraySource(dark[:2]), inspector, watch=Watch(model.calibration, tmp_path / "drift.json")))
    assert isinstance(again[0], DriftAlarm), "the promise is void from the beginning of the next run on"


def test_unreadable_and_vanished_images_keep_their_place(model: Model, parts: Path, four_cores: None) -> None:
    source = FileSource([parts])
    source.paths[2].write_bytes(source.paths[2].read_bytes()[:150])
    source.paths[5].unlink()
    *events, end = run(source, model.inspector)
    assert [event.origin.path for event in events] == list(source.paths)
    bad = {event.origin.name: str(event.error) for event in only(events, Unreadable)}
    assert [Path(name).name for name in bad] == ["02.png", "05.png"]
    assert "no such file" in bad[str(parts / "05.png")]
    assert end.counts["unreadable"] == 2


def test_what_is_left_out_comes_as_an_event(model: Model, parts: Path) -> None:
    (parts / ".hidden.png").write_bytes(b"")
    events = list(run(FileSource([parts]), model.inspector))
    assert events[0] == LeftOut(parts / ".hidden.png", "hidden")
    assert events[-1].num_left_out == 1


def test_a_zone_that_does_not_fit_is_one_images_fault(model: Model, parts: Path, product: TinyProduct) -> None:
    zone = zone_from_mask(np.ones((64, 64), bool), (64, 64))
    bundle = dataclasses.replace(model.bundle, calibration=dataclasses.replace(model.calibration, zone=zone))
    write_png(parts / "03.png", np.full((80, 64, 3), 90, np.uint8))
    *events, end = run(FileSource([parts]), Inspector(bundle))
    [bad] = only(events, Unreadable)
    assert str(bad.error).startswith(f"{parts / '03.png'}: ")
    assert "the zone was drawn for images of 64 x 64" in str(bad.error)
    assert end.num_images == 12


class TestAnOutputFolder:
    def test_it_is_in_order_and_rows_name_their_overlays(
        self, model: Model, parts: Path, tmp_path: Path, four_cores: None
    ) -> None:
        out = tmp_path / "out"
        source = FileSource([parts, Path(shutil.copytree(parts, tmp_path / "b" / "parts"))])
        *_, end = run(source, model.inspector, output_sinks(out))
        assert end.num_faults == 0
        rows = lines(out / "verdicts.jsonl")
        assert [row["path"] for row in rows] == [str(path) for path in source.paths]
        drawn = [f"overlays/parts/{n:02}.png" for n in range(12)] + [f"overlays/parts/{n:02}_2.png" for n in range(12)]
        assert [row["overlay"] for row in rows] == drawn
        assert all((out / name).is_file() for name in drawn)

    def test_overlays_of_the_run_before_are_not_inspected(self, model: Model, parts: Path) -> None:
        before = list_images([parts]).images
        list(model.inspect_files(parts, output=parts / "out"))
        assert (parts / "out" / "overlays").is_dir()
        assert list_images([parts]).images == before

    def test_a_place_that_cannot_be_begun_is_an_error(self, model: Model, parts: Path, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("a file", encoding="utf-8")
        with pytest.raises(OutputError, match="cannot be made"):
            next(run(FileSource([parts]), model.inspector, output_sinks(tmp_path / "out")))

    def test_overlays_that_cannot_be_written_cost_no_verdict(
        self, model: Model, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(path: Path, content: bytes) -> bool:
            raise OutputError(f"{path}: cannot be written (no space left on device); free the place or choose another")

        monkeypatch.setattr("blemish.line.sinks.write_new_file", full)
        outcomes = model.inspect_files(parts, output=tmp_path / "out")
        assert all(isinstance(next(outcomes)[1], Verdict) for _ in range(12))
        with pytest.raises(OutputError, match="no space left"):
            next(outcomes)
        assert len(lines(tmp_path / "out" / "verdicts.jsonl")) == 12

    @pytest.mark.skipif(os.name == "nt", reason="needs a limit on file sizes")
    def test_a_full_disk_costs_files_but_no_verdict(self, bundle_path: Path, parts: Path, tmp_path: Path) -> None:
        """With 3 kB a file every overlay and most lines of the tables fail; standard output has it all."""
        out = tmp_path / "out"
        program = (
            "import resource, sys\n"
            "from blemish.cli.main import main\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
            f"sys.argv = ['blemish', 'inspect', {str(bundle_path)!r}, {str(parts)!r}, '-o', {str(out)!r}, '--json']\n"
            "main()\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert len([row for row in map(json.loads, done.stdout.splitlines()) if "decision" in row]) == 12
        assert "cannot be written" in done.stderr
        assert "verdicts go on" in done.stderr
        assert 0 < len(lines(out / "verdicts.jsonl")) < 12, "whole lines alone"
        assert not list((out / "overlays").rglob("*.part"))

    def test_a_folder_removed_in_mid_run_is_told_and_made_again(
        self, model: Model, parts: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        events = run(FileSource([parts]), model.inspector, output_sinks(out), num_threads=1)
        for _ in range(4):
            next(events)
        shutil.rmtree(out)
        *rest, end = events
        told = [str(event.error) for event in only(rest, SinkFault)]
        assert len(told) == end.num_faults == 2
        assert all("was removed or renamed" in message for message in told)
        assert len(lines(out / "verdicts.jsonl")) == 8
        assert len(list((out / "overlays").rglob("*.png"))) == 8


class TestSinks:
    def test_each_event_is_kept_before_it_is_given(self, model: Model, parts: Path) -> None:
        sink = ListSink()
        for number, event in enumerate(run(FileSource([parts]), model.inspector, [sink])):
            if not isinstance(event, End):
                assert sink.events[number] is event
        assert not sink.is_open

    def test_a_fault_is_an_event_and_the_other_sinks_go_on(self, model: Model, parts: Path) -> None:
        broken, whole = ListSink(fails=lambda event: "03" in event.origin.name), ListSink()
        broken.fails = lambda event: Path(event.origin.name).name in ("03.png", "07.png")
        *events, end = run(FileSource([parts]), model.inspector, [broken, whole])
        faults = only(events, SinkFault)
        assert [(fault.sink, fault.is_first) for fault in faults] == [("ListSink", True), ("ListSink", False)]
        assert end.num_faults == 2
        assert len(whole.events) == 12
        assert [Path(event.origin.name).name for event in judged(whole.events) if not event.is_kept] == [
            "03.png",
            "07.png",
        ]

    def test_pictures_are_drawn_for_those_who_need_them(self, model: Model, parts: Path) -> None:
        assert all(event.picture is None for event in judged(run(FileSource([parts]), model.inspector, [ListSink()])))
        drawn = judged(run(FileSource([parts]), model.inspector, [ListSink(needs_picture=True)]))
        assert all((event.picture or b"").startswith(b"\x89PNG") for event in drawn)

    def test_a_stream_that_is_left_closes_its_sinks(self, model: Model, parts: Path) -> None:
        sink = ListSink()
        events = run(FileSource([parts]), model.inspector, [sink])
        next(events)
        events.close()
        assert not sink.is_open


class TestLots:
    def test_a_lot_is_judged_when_it_ends(self, model: Model, parts: Path) -> None:
        items = [
            Item(Origin(path.name, path, lot_id="early" if path.name < "04" else "late"), path)
            for path in list_images([parts]).images
        ]
        events = list(run(ArraySource(items), model.inspector, lot=0.2))
        early, late = only(events, LotJudged)
        assert (early.lot_id, len(early.names), late.lot_id, len(late.names)) == ("early", 4, "late", 8)
        assert events.index(early) == 4
        assert early.lot.num_rejected == 0
        assert late.lot.num_rejected > 0

    def test_an_empty_lot_is_none(self, model: Model) -> None:
        assert not only(run(ArraySource([]), model.inspector, lot=0.1), LotJudged)


class SlowSource:
    """Gives one image, then waits until it is closed."""

    size, is_live, num_missed = None, False, 0

    def __init__(self, image: Image) -> None:
        self._image, self.closing, self.num_given = image, threading.Event(), 0

    def __iter__(self) -> Iterator[Item]:
        self.num_given += 1
        yield Item(Origin("first"), self._image)
        self.closing.wait(30)

    def close(self) -> None:
        self.closing.set()


class TestTime:
    def test_a_verdict_does_not_wait_for_the_next_image(self, model: Model, product: TinyProduct) -> None:
        source = SlowSource(product.held_out[0])
        events = run(source, model.inspector)
        assert isinstance(next(events), Judged)
        assert not source.closing.is_set()
        source.close()
        assert isinstance(next(events), End)

    def test_a_source_that_hangs_does_not_hang_the_program(self, model: Model, product: TinyProduct) -> None:
        source = SlowSource(product.held_out[0])
        source.close = lambda: None  # type: ignore[method-assign]
        events = run(source, model.inspector)
        next(events)
        start = time.monotonic()
        events.close()
        assert time.monotonic() - start < 5
        source.closing.set()

    def test_few_images_are_under_way(self, model: Model, product: TinyProduct) -> None:
        taken: list[int] = []

        def images() -> Iterator[Image]:
            for number in range(200):
                taken.append(number)
                yield product.held_out[0]

        events = run(ArraySource(images()), model.inspector, num_threads=2)
        for number in range(1, 50):
            next(events)
            assert len(taken) <= number + 4
        events.close()

    def test_an_error_of_the_source_comes_up(self, model: Model, product: TinyProduct) -> None:
        def images() -> Iterator[Image]:
            yield product.held_out[0]
            raise DataError("line 3: no trigger; look at the cable")

        events = run(ArraySource(images()), model.inspector)
        assert isinstance(next(events), Judged)
        with pytest.raises(DataError, match="no trigger"):
            next(events)

    def test_large_images_take_turns(
        self, model: Model, parts: Path, four_cores: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stream, "LARGE_PIXELS", 64 * 64 - 1)
        running: list[int] = []
        inspect_really = Inspector.inspect_image

        def inspect(self: Inspector, image: Image, name: str) -> Verdict:
            running.append(1)
            assert len(running) == 1
            verdict = inspect_really(self, image, name)
            running.pop()
            return verdict

        monkeypatch.setattr(Inspector, "inspect_image", inspect)
        assert all(isinstance(outcome, Verdict) for _, outcome in model.inspect_files(parts))

    def test_out_of_memory_is_told_and_every_verdict_given(
        self, model: Model, parts: Path, four_cores: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failures = iter([True])
        read_really = stream.read_image

        def read(path: Path, reading: ReadSettings) -> Image:
            if path.name == "06.png" or (path.name == "01.png" and next(failures, False)):
                raise MemoryError
            return read_really(path, reading)

        monkeypatch.setattr(stream, "read_image", read)
        events = list(run(FileSource([parts]), model.inspector))
        assert [Path(event.origin.name).name for event in only(events, Unreadable)] == ["06.png"]
        assert "not enough memory" in str(only(events, Unreadable)[0].error)
        assert only(events, Notice) == [Notice("memory ran out: going on with 2 images at a time")]
        assert len(judged(events)) == 11


class TestModel:
    def test_progress_counts_every_file(self, model: Model, parts: Path) -> None:
        (parts / "00.png").write_bytes(b"nothing")
        steps: list[tuple[str, int, int]] = []
        list(model.inspect_files([parts], progress=lambda *step: steps.append(step)))
        assert steps == [("inspecting", number, 12) for number in range(1, 13)]

    def test_a_folder_without_images_says_so(self, model: Model, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no image in this folder"):
            next(model.inspect_files(tmp_path))

    def test_a_source_is_inspected_with_all_that_a_line_needs(self, model: Model, parts: Path, tmp_path: Path) -> None:
        sink = ListSink()
        events = model.inspect_source(
            FileSource([parts]), output=tmp_path / "out", sinks=[sink], drift_state=tmp_path / "drift.json", lot=0.2
        )
        with contextlib.closing(events):
            found = list(events)
        assert isinstance(found[-1], End)
        assert len(lines(tmp_path / "out" / "verdicts.jsonl")) == len(judged(sink.events)) == 12
        assert only(found, LotJudged)
        assert json.loads((tmp_path / "drift.json").read_bytes())["state"]["num_parts"] == 12
