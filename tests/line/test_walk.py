"""From an image on disk to its verdict: few files of the package, called in one direction."""

from __future__ import annotations

import sys
import threading
from graphlib import TopologicalSorter
from pathlib import Path
from types import FrameType

import blemish
from blemish.line.events import Judged
from blemish.line.sinks import output_sinks
from blemish.line.stream import run
from blemish.model import Model, train
from blemish.watching.watch import Watch

MOST_FILES = 30


def file_of(frame: FrameType | None) -> str | None:
    """The file of the package that a frame runs in; None elsewhere."""
    place = Path("" if frame is None else frame.f_code.co_filename)
    root = Path(blemish.__file__).parent
    return place.relative_to(root).as_posix() if place.is_relative_to(root) else None


def test_an_image_walks_through_few_files_in_one_direction(product_folder: Path, tmp_path: Path) -> None:
    model: Model = train(product_folder, detector="template", size=64)
    visited: set[str] = set()
    calls: dict[str, set[str]] = {}
    is_watched = False

    def look(frame: FrameType, event: str, argument: object) -> None:
        called = file_of(frame) if is_watched and event == "call" else None
        if called is not None:
            visited.add(called)
            caller = file_of(frame.f_back)
            if caller not in (None, called):
                calls.setdefault(caller, set()).add(called)

    threading.setprofile(look)
    sys.setprofile(look)
    try:
        events = run(
            blemish.open_source(product_folder / "test" / "good"),
            model.make_inspector(watch_drift=True),
            output_sinks(tmp_path / "out"),
            watch=Watch(model.calibration, tmp_path / "drift.json", print),
            num_threads=1,
        )
        judged = 0
        for event in events:  # the first opens everything
            judged += isinstance(event, Judged)
            is_watched = judged == 1
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert judged > 2
    assert len(visited) <= MOST_FILES, sorted(visited)
    assert "inspection/inspector.py" in visited
    TopologicalSorter(calls).prepare()  # raises where a call goes back up
