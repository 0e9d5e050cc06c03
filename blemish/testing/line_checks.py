"""The contracts of sources and sinks as lists of checks; each raises AssertionError, saying what was found.

    for check in SOURCE_CHECKS:
        check(lambda: CameraSource(0, open_capture=FakeCamera(images).open))
    for check in SINK_CHECKS:
        check(lambda folder: JsonLinesSink(folder / "verdicts.jsonl"))

A source to check gives at least one item soon; it is made anew for each check. A sink is made for an empty folder.
"""

from __future__ import annotations

import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from blemish.datasets.left_out import LeftOut
from blemish.decisions.lot import judge_lot
from blemish.errors import ImageError, OutputError
from blemish.line.events import DriftAlarm, End, Event, Item, Judged, LotJudged, Notice, Origin, Unreadable
from blemish.line.sinks import Sink
from blemish.line.sources import Given, Source
from blemish.line.stream import run
from blemish.model import train
from blemish.schema import Region, Verdict
from blemish.testing.tiny import make_tiny_product
from blemish.watching.drift import DriftReport

SECONDS = 5.0
"""How long a source may take to give its first item, and to end after it was closed."""
ODD_NAMES = (
    "Pr\udcfcfling.png",
    "two\nlines.png",
    "\x1b[31m.png",
    "=1+1.png",
    "部" * 80 + ".png",
    "a\u2028b.png",
    "..",
)

MakeSource: TypeAlias = Callable[[], Source]
MakeSink: TypeAlias = Callable[[Path], Sink]


def source_says_what_it_is(make: MakeSource) -> None:
    """`size` is a number or None, `is_live` a truth, `num_missed` a number."""
    source = make()
    _require(source.size is None or source.size >= 0, f"size is {source.size!r}")
    _require(isinstance(source.is_live, bool), f"is_live is {source.is_live!r}")
    _require(source.num_missed == 0, f"num_missed is {source.num_missed!r} before anything was given")
    source.close()


def source_gives_items(make: MakeSource) -> None:
    """What it gives has a name, a time with a zone or none, and content that can be inspected."""
    with _iterated(make()) as given:
        first = given.get(timeout=SECONDS)
    _require(isinstance(first, (Item, LeftOut)), f"it gave {first!r}, no Item")
    if isinstance(first, Item):
        _require(bool(first.origin.name), "the item has no name")
        known = isinstance(first.content, (Path, bytes, ImageError, np.ndarray))
        _require(known, f"its content is {type(first.content).__name__}")


def source_ends_when_it_is_closed(make: MakeSource) -> None:
    """Closing ends the iteration soon, also where another thread waits in it; closing again does nothing."""
    source = make()
    with _iterated(source) as given:
        given.get(timeout=SECONDS)
        source.close()
        source.close()
        _drain(given)


def source_closed_at_first_gives_little(make: MakeSource) -> None:
    """A source that was closed before it is iterated ends soon."""
    source = make()
    source.close()
    with _iterated(source) as given:
        _drain(given)


def source_feeds_a_stream(make: MakeSource) -> None:
    """Its first item becomes an event of a stream, and closing it ends the stream in order."""
    source = make()
    model = train(list(make_tiny_product(num_good=4).good), detector="template", size=64)
    events = run(source, model.inspector)
    first = next(events)
    _require(not isinstance(first, End), "the stream ended without an event of an item")
    source.close()
    *_, last = events
    _require(isinstance(last, End), f"the last event is {last!r}")


def sink_says_what_it_needs(make: MakeSink) -> None:
    """`needs_picture` is a truth."""
    with _folder() as folder:
        sink = make(folder)
        _require(isinstance(sink.needs_picture, bool), f"needs_picture is {sink.needs_picture!r}")


def sink_takes_every_event(make: MakeSink) -> None:
    """It takes events of every kind, also those it passes over, and gives back None or the same kind of event."""
    with _folder() as folder, make(folder) as sink:
        for event in events_of_every_kind(folder):
            returned = sink.write(event)
            same = returned is None or type(returned) is type(event)
            _require(same, f"for a {type(event).__name__} it gave back a {type(returned).__name__}")
            if isinstance(event, Judged) and isinstance(returned, Judged):
                _require(returned.verdict is event.verdict, "it changed the verdict")


def sink_takes_every_name(make: MakeSink) -> None:
    """Names that are not UTF-8, that hold line breaks, escapes, formulas, or that are long, do no harm."""
    with _folder() as folder, make(folder) as sink:
        for name in ODD_NAMES:
            sink.write(judged_event(name))


def sink_goes_on_in_a_later_run(make: MakeSink) -> None:
    """The same place can be written to again, by a new sink."""
    with _folder() as folder:
        for number in range(3):
            with make(folder) as sink:
                sink.write(judged_event(f"{number}.png"))


def sink_names_a_place_that_cannot_be(make: MakeSink) -> None:
    """Where the folder is a file, entering raises OutputError."""
    with _folder() as folder:
        place = folder / "file"
        place.write_text("in the way", encoding="utf-8")
        sink = make(place)
        try:
            sink.__enter__()
        except OutputError as error:
            _require(str(place) in str(error), f"the error names no place: {error}")
            return
    raise AssertionError("a place that cannot be made raised no OutputError")


SOURCE_CHECKS: tuple[Callable[[MakeSource], None], ...] = (
    source_says_what_it_is,
    source_gives_items,
    source_ends_when_it_is_closed,
    source_closed_at_first_gives_little,
    source_feeds_a_stream,
)
SINK_CHECKS: tuple[Callable[[MakeSink], None], ...] = (
    sink_says_what_it_needs,
    sink_takes_every_event,
    sink_takes_every_name,
    sink_goes_on_in_a_later_run,
    sink_names_a_place_that_cannot_be,
)


def judged_event(name: str, path: Path | None = None) -> Judged:
    """A reject with one region and a picture."""
    region = Region((2, 3, 4, 5), ((2, 3), (5, 3), (5, 7)), 20.0, (4.0, 5.5), (4, 5), 9.0, 7.0, 6.4)
    anomaly_map = np.full((6, 8), 9.0, np.float32)
    verdict = Verdict(
        name, "reject", 9.0, 5.0, 0.01, 80.0, (region,), 3.5, "0123456789abcdef", (24, 32), anomaly_map, ("rule 1",)
    )
    return Judged(Origin(name, path, datetime.now(timezone.utc), "part 7", "lot 3"), verdict, picture=b"\x89PNG")


def events_of_every_kind(folder: Path) -> tuple[Event, ...]:
    """One event of each kind, with a file for those that have one."""
    path = folder / "part.png"
    path.write_bytes(b"an image")
    origin = Origin(str(path), path)
    return (
        judged_event("part.png"),
        Judged(origin, judged_event(str(path)).verdict, picture=b"\x89PNG"),
        Unreadable(origin, ImageError(f"{path}: the file is cut off"), "0123456789abcdef"),
        LeftOut(folder / ".hidden.png", "hidden"),
        DriftAlarm(DriftReport(7, "brightness", 1.5, True, "Part 7: the parts no longer look like the good images")),
        LotJudged("lot 3", ("a", "b"), judge_lot([0.5, 0.001], num_good=2000)),
        Notice("memory ran out"),
    )


@contextmanager
def _iterated(source: Source) -> Iterator[queue.Queue[Given | BaseException | None]]:
    """What a source gives, put into a queue by a thread; None at its end."""
    given: queue.Queue[Given | BaseException | None] = queue.Queue()
    is_over = threading.Event()

    def iterate() -> None:
        try:
            for item in source:
                given.put(item)
                if is_over.wait(0.001):  # one that does not end must not fill the memory
                    return
        except BaseException as error:
            given.put(error)
        given.put(None)

    threading.Thread(target=iterate, daemon=True).start()
    try:
        yield given
    finally:
        is_over.set()
        source.close()


def _drain(given: queue.Queue[Any]) -> None:
    """Waits for the end of what was begun."""
    end = time.monotonic() + SECONDS
    try:
        while given.get(timeout=max(0.0, end - time.monotonic())) is not None:
            pass
    except queue.Empty:
        raise AssertionError(f"the source did not end within {SECONDS:g} s after it was closed") from None


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _require(is_kept: bool, found: str) -> None:
    if not is_kept:
        raise AssertionError(found)
