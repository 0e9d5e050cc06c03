"""Every source and sink keeps its contract, those of plug-ins too; a broken one is found out."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from blemish import open_source
from blemish.errors import SettingsError
from blemish.line.camera import CameraSource
from blemish.line.events import Event, Item, Judged, Origin
from blemish.line.follow import FollowSource
from blemish.line.history import HistorySink
from blemish.line.sinks import CsvSink, JsonLinesSink, MapSink, OverlaySink, Sink
from blemish.line.sorting import RemoveSink, SortSink
from blemish.line.sources import ArraySource, FileSource, QueueSource, ReplaySource, Source
from blemish.registry import SINKS, SOURCES, load_sink, load_source, sink_names, source_names
from blemish.testing.camera import FakeCamera
from blemish.testing.line_checks import SINK_CHECKS, SOURCE_CHECKS
from blemish.testing.tiny import TinyProduct

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def sources(parts: Path, product: TinyProduct) -> dict[str, Callable[[], Source]]:
    def queued() -> QueueSource:
        images: queue.Queue[object] = queue.Queue()
        images.put(product.held_out[0])
        return QueueSource(images)

    return {
        "files": lambda: FileSource([parts]),
        "arrays": lambda: ArraySource(list(product.held_out)),
        "queue": queued,
        "replay": lambda: ReplaySource(FileSource([parts]), 100),
        "follow": lambda: FollowSource(parts),
        "camera": lambda: CameraSource(0, open_capture=FakeCamera(product.held_out, rate=50).open),
    }


@pytest.mark.parametrize("check", SOURCE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ["files", "arrays", "queue", "replay", "follow", "camera"])
def test_sources(check: Callable[[object], None], name: str, sources: dict[str, Callable[[], Source]]) -> None:
    check(sources[name])


MADE: dict[str, Callable[[Path], Sink]] = {
    "jsonl": lambda folder: JsonLinesSink(folder / "v.jsonl"),
    "csv": lambda folder: CsvSink(folder / "v.csv"),
    "overlays": lambda folder: OverlaySink(folder / "overlays"),
    "maps": lambda folder: MapSink(folder / "maps"),
    "copy": lambda folder: SortSink(folder / "sorted"),
    "sqlite": lambda folder: HistorySink(folder / "history.db"),
    "parquet": lambda folder: load_sink("parquet")(str(folder / "table")),
}


@pytest.mark.parametrize("check", SINK_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", SINKS)
def test_sinks(check: Callable[[object], None], name: str) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow")
    check(MADE[name])


def test_moving_is_two_sinks(tmp_path: Path) -> None:
    for check in SINK_CHECKS[:-1]:
        check(lambda folder: SortSink(folder / "sorted", is_moving=True))
        check(lambda folder: RemoveSink())


class BrokenSource:
    size, is_live, num_missed = 0, False, 0

    def __init__(self, **changes: object) -> None:
        self.__dict__ |= changes

    def __iter__(self) -> Iterator[Item]:
        while True:
            yield Item(Origin("endless"), np.zeros((32, 32, 3), np.uint8))

    def close(self) -> None: ...


class BrokenSink:
    needs_picture = False

    def __init__(self, folder: Path) -> None: ...

    def __enter__(self) -> BrokenSink:
        return self

    def __exit__(self, *error: object) -> None: ...

    def write(self, event: Event) -> Event | None:
        if isinstance(event, Judged):
            return Judged(event.origin, event.verdict.__class__(**{**vars(event.verdict), "score": 0.0}))
        return None


def found_by(checks: tuple[Callable[..., None], ...], make: object) -> set[str]:
    found = set()
    for check in checks:
        try:
            check(make)
        except AssertionError:
            found.add(check.__name__)
    return found


def test_a_broken_source_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blemish.testing.line_checks.SECONDS", 0.3)
    checks = SOURCE_CHECKS[:-1]
    assert found_by(checks, BrokenSource) == {"source_ends_when_it_is_closed", "source_closed_at_first_gives_little"}
    assert "source_says_what_it_is" in found_by(checks, lambda: BrokenSource(is_live="no"))


def test_a_broken_sink_is_found_out() -> None:
    assert found_by(SINK_CHECKS, BrokenSink) == {"sink_takes_every_event", "sink_names_a_place_that_cannot_be"}


class TestNames:
    def test_every_name_leads_somewhere(self) -> None:
        for name in SINKS:
            if name == "parquet":
                pytest.importorskip("pyarrow")
            assert callable(load_sink(name))
        for name in SOURCES:
            assert callable(load_source(name))

    def test_an_unknown_name_lists_the_known(self) -> None:
        with pytest.raises(SettingsError, match=r"no sink is called 'mqtt'; there are copy, csv, jsonl"):
            load_sink("mqtt")
        with pytest.raises(SettingsError, match=r"no source is called 's3'; addresses begin with camera:, http:"):
            open_source("s3://bucket/folder")

    def test_a_missing_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("blemish.registry.find_spec", lambda name: None)
        with pytest.raises(SettingsError, match=r'needs the extra `parquet` .*pip install "blemish\[parquet\]"'):
            load_sink("parquet")

    def test_a_place_opens_as_what_it_is(self, parts: Path, product: TinyProduct, tmp_path: Path) -> None:
        assert isinstance(open_source(parts), FileSource)
        assert isinstance(open_source([parts / "00.png", str(parts / "01.png")]), FileSource)
        assert isinstance(open_source(product.held_out[0]), ArraySource)
        assert isinstance(open_source(product.held_out), ArraySource)
        assert isinstance(open_source(iter(product.held_out)), ArraySource)
        assert isinstance(open_source(queue.Queue()), QueueSource)
        assert isinstance(open_source("camera:0"), CameraSource)
        assert isinstance(open_source("rtsp://10.0.0.7/stream1"), CameraSource)
        assert isinstance(open_source(parts, follow=True), FollowSource)
        assert isinstance(open_source(parts, rate=5), ReplaySource)
        named = tmp_path / "lot:7.png"
        named.write_bytes((parts / "00.png").read_bytes())
        assert isinstance(open_source(str(named)), FileSource)

    def test_a_camera_needs_a_number_or_a_device(self) -> None:
        with pytest.raises(SettingsError, match="camera:0"):
            open_source("camera:")


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """The page's source and sink, installed beside the package."""
    page = (ROOT / "docs" / "line.md").read_text(encoding="utf-8")
    for name, source in re.findall(r"```python file=(\S+)\n(.*?)```", page, re.DOTALL):
        (tmp_path / name).write_text(source, encoding="utf-8")
    [entries] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    facts = tmp_path / "my_line-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: my-line\nVersion: 1.0\n", encoding="utf-8")
    points = re.sub(r'\[project\.entry-points\."(.*?)"\]', r"[\1]", entries).replace('"', "")
    (facts / "entry_points.txt").write_text(points, encoding="utf-8")
    return tmp_path


class TestPlugins:
    def test_they_are_found_by_their_entry_points(self, plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(plugin)
        assert "noise" in source_names()
        assert "total" in sink_names()

    def test_the_command_line_takes_them_and_they_keep_the_contract(self, plugin: Path, bundle_path: Path) -> None:
        path = os.pathsep.join([str(plugin), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path}
        options = {"capture_output": True, "text": True, "check": False, "cwd": plugin, "env": environment}
        command = ("blemish.cli.main", "inspect", bundle_path, "noise:3", "--sink", "total:total.txt", "--json")
        done = subprocess.run([sys.executable, "-m", *map(str, command)], **options)  # type: ignore[call-overload]
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) >= 3
        assert (plugin / "total.txt").read_text() == "3 images\n"
        checked = subprocess.run([sys.executable, "-m", "pytest", "-q", "test_my_line.py"], **options)  # type: ignore[call-overload]
        assert checked.returncode == 0, checked.stdout
