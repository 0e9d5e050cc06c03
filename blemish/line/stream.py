"""One stream from a source to its sinks: verdicts in order, on all cores, with few images in memory at a time.

What fails for one image or one sink does not stop the rest; it is an event like the others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from blemish.datasets.left_out import LeftOut
from blemish.decisions.lot import judge_lot
from blemish.errors import BlemishError, CalibrationError, ImageError, OutputError, SettingsError
from blemish.images.decode import LARGE_PIXELS, as_image, decode_image, read_image, read_image_hw
from blemish.inspection.inspector import Inspector
from blemish.inspection.look import zone_of
from blemish.inspection.overlay import draw_overlay, map_scale, png_bytes
from blemish.line.events import (
    COUNTED,
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
from blemish.line.sinks import Sink
from blemish.line.sources import Source, time_of
from blemish.runtime.memory import is_out_of_memory
from blemish.runtime.pipeline import AHEAD, InOrder
from blemish.runtime.threads import at_most, usable_cores
from blemish.schema import Image
from blemish.watching.watch import Watch

Outcome: TypeAlias = Judged | Unreadable


def run(
    source: Source,
    inspector: Inspector,
    sinks: Sequence[Sink] = (),
    *,
    watch: Watch | None = None,
    lot: float | None = None,
    num_threads: int = 0,
) -> Generator[Event, None, None]:
    """The events of a source's images, in its order; each was in all sinks, in theirs, before it is given.

    An image is decoded, inspected and drawn by one of `num_threads` threads: give an inspector of one thread (0: as
    many threads as cores; one, for a live source). `watch` takes in each verdict and is saved at the end. With `lot`,
    a false discovery rate, each lot is judged as one when it ends. The last event is `End`, when all sinks are closed.

    Raises SettingsError where a watch is given and the inspector measures nothing to watch, OutputError where a sink
    cannot be begun, EngineError where the graph cannot run, and what the source raises.
    Closing the source ends the stream after the images under way; closing the stream ends it at once.
    """
    if watch is not None and not inspector.watch_drift:
        raise SettingsError("the inspector measures no conditions to watch: make it with watch_drift=True")
    start = time.perf_counter()
    counts = dict.fromkeys(COUNTED, 0)
    num_left_out = num_faults = 0
    with ExitStack() as stack:
        stack.callback(source.close)
        keeper = _Keeper(sinks, watch)
        stack.callback(keeper.give_up)
        keeper.open()
        lots = None if lot is None else _Lots(lot, len(inspector.bundle.calibration.good_scores))
        worker = _Worker(inspector, draws=any(sink.needs_picture for sink in sinks))
        at_once = worker.num_threads(source, num_threads)
        stack.enter_context(at_most(num_threads or max(at_once, inspector.threads)))
        begun = InOrder(worker.judge, at_once, alone=worker.judge_alone)
        stack.callback(begun.close)
        feeder = _Feeder(source, begun)
        stack.callback(feeder.stop)
        if watch is not None and watch.report().is_void:
            yield from keeper.keep(DriftAlarm(watch.report()))
        while (given := feeder.next()) is not None:
            if isinstance(given, LeftOut):
                num_left_out += 1
                yield from keeper.keep(given)
                continue
            threads_then = begun.num_threads
            outcome = begun.take()
            if begun.num_threads < threads_then:
                yield from keeper.keep(_fewer(begun.num_threads))
            counts[outcome.verdict.decision if isinstance(outcome, Judged) else "unreadable"] += 1
            if lots is not None and lots.has_ended(outcome.origin):
                yield from keeper.keep(lots.judge())
            yield from keeper.keep(outcome)
            if isinstance(outcome, Judged):
                if lots is not None:
                    lots.add(outcome)
                yield from keeper.watch_over(outcome)
        if lots is not None and lots.names:
            yield from keeper.keep(lots.judge())
        yield from keeper.close()
        num_faults = keeper.num_faults
    yield End(counts, num_left_out, source.num_missed, num_faults, time.perf_counter() - start)


def images_at_once(source: Source) -> int:
    """For how many images of a source at the same time an inspector should be made: one, or several of one thread."""
    return 1 if source.is_live else 2 if source.size is None else source.size


class _Worker:
    """What is done with an item by one of several threads."""

    def __init__(self, inspector: Inspector, *, draws: bool) -> None:
        self._inspector = inspector
        self._bundle_id = inspector.bundle.bundle_id
        self._scale = map_scale(inspector.bundle.calibration) if draws else None
        self._large = threading.Lock()

    def num_threads(self, source: Source, wanted: int) -> int:
        if self._inspector.tiling is not None:  # its tiles take all cores: one image is read and drawn meanwhile
            return min(wanted, 2) or 2
        return wanted or (1 if source.is_live else usable_cores())

    def judge(self, item: Item) -> Outcome:
        origin, content, reading = item.origin, item.content, self._inspector.reading
        try:
            if isinstance(content, ImageError):
                raise content
            if isinstance(content, Path):
                if origin.time is None:
                    origin = dataclasses.replace(origin, time=time_of(content))
                with self._turn(read_image_hw(content, reading)):
                    return self._inspect(origin, read_image(content, reading), content)
            if isinstance(content, bytes):
                image = decode_image(content, origin.name, reading)
            else:
                image = self._as_image(content, origin.name)
            with self._turn((image.shape[0], image.shape[1])):
                return self._inspect(origin, image, content if isinstance(content, bytes) else image)
        except (ImageError, CalibrationError) as error:
            if is_out_of_memory(error):
                raise
            # A zone that does not fit one image is that image's fault alone.
            why = error if isinstance(error, ImageError) else ImageError(f"{origin.name}: {error}")
            return Unreadable(origin, why, self._bundle_id)

    def judge_alone(self, item: Item) -> Outcome:
        """Once more where memory ran out, while no other thread works."""
        try:
            return self.judge(item)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            name = item.origin.name
            why = ImageError(f"{name}: not enough memory for this image, even by itself; free some, or scale it")
            return Unreadable(item.origin, why, self._bundle_id)

    def _inspect(self, origin: Origin, image: Image, content: Path | bytes | Image) -> Judged:
        verdict = self._inspector.with_drawing(self._inspector.inspect_image(image, origin.name), content)
        picture = None
        if self._scale is not None:
            with contextlib.suppress(OutputError):  # the sink that asked for it says that there is none
                time = "" if origin.time is None else f"{origin.time:%Y-%m-%d %H:%M:%S}"
                zone = zone_of(self._inspector.bundle.calibration.zone, verdict)
                picture = png_bytes(draw_overlay(image, verdict, self._scale, zone=zone, time=time))
        return Judged(origin, verdict, picture)

    def _as_image(self, array: NDArray[Any], name: str) -> Image:
        try:
            return as_image(array, self._inspector.reading)
        except ImageError as error:
            raise ImageError(f"{name}: {error}") from error

    def _turn(self, hw: tuple[int, int]) -> contextlib.AbstractContextManager[object]:
        """Large images take turns."""
        return self._large if hw[0] * hw[1] > LARGE_PIXELS else contextlib.nullcontext()


class _Feeder:
    """Reads the source in a thread of its own, so that a source that waits holds back no result."""

    def __init__(self, source: Source, begun: InOrder[Item, Outcome]) -> None:
        self._source, self._begun = source, begun
        self._given: queue.SimpleQueue[LeftOut | Item | BaseException | None] = queue.SimpleQueue()
        ahead = 1 if source.is_live else AHEAD
        self._room = threading.Semaphore(ahead * begun.num_threads)
        self._ahead, self._num_threads = ahead, begun.num_threads
        self._owed = 0
        self._is_first = True
        self._is_stopped = False
        # A daemon: a source that hangs must not keep the program from ending.
        self._thread = threading.Thread(target=self._feed, name="source", daemon=True)
        self._thread.start()

    def next(self) -> LeftOut | Item | None:
        """What was left out, or the item whose result comes next; None at the end. The one before is done with."""
        if not self._is_first:
            self._make_room()
        self._is_first = False
        while True:
            with contextlib.suppress(queue.Empty):
                given = self._given.get(timeout=1.0)  # a wait without end cannot be interrupted everywhere
                break
        if isinstance(given, BaseException):
            raise given
        return given

    def stop(self) -> None:
        self._is_stopped = True
        self._source.close()
        self._room.release()
        self._thread.join(timeout=1.0)

    def _make_room(self) -> None:
        """Lets one more in, unless memory has run out for as many."""
        self._owed += self._ahead * (self._num_threads - self._begun.num_threads)
        self._num_threads = self._begun.num_threads
        if self._owed:
            self._owed -= 1
        else:
            self._room.release()

    def _feed(self) -> None:
        try:
            items = iter(self._source)
            while True:
                self._room.acquire()
                given = None if self._is_stopped else next(items, None)
                if given is None or self._is_stopped:
                    break
                if isinstance(given, Item):
                    self._begun.add(given)
                self._given.put(given)
        except BaseException as error:
            self._given.put(error)
        else:
            self._given.put(None)


class _Keeper:
    """Hands events to the sinks and to the drift watch; what they cannot keep becomes events."""

    def __init__(self, sinks: Sequence[Sink], watch: Watch | None) -> None:
        self.num_faults = 0
        self._sinks, self._watch = sinks, watch
        self._open: list[Sink] = []
        self._failed: set[int] = set()
        self._is_void = watch is not None and watch.report().is_void

    def open(self) -> None:
        for sink in self._sinks:
            sink.__enter__()
            self._open.append(sink)

    def keep(self, event: Event) -> Iterator[Event]:
        """The event as the sinks leave it, then their faults."""
        faults: list[SinkFault] = []
        for sink in self._open:
            try:
                event = sink.write(event) or event
            except OutputError as error:
                faults.append(self._fault(sink, error))
                if isinstance(event, (Judged, Unreadable)):
                    event = dataclasses.replace(event, is_kept=False)
        yield event
        yield from faults

    def watch_over(self, judged: Judged) -> Iterator[Event]:
        """The drift alarm where this verdict raises it."""
        if self._watch is None:
            return
        try:
            report = self._watch.update(judged.verdict)
        except CalibrationError as error:
            yield from self.keep(Notice(f"{judged.origin.name}: the drift watch passes over this part: {error}"))
            return
        if report.is_void and not self._is_void:
            self._is_void = True
            yield from self.keep(DriftAlarm(report))

    def close(self) -> Iterator[Event]:
        """Closes the sinks and saves the watch; gives their faults."""
        while self._open:
            sink = self._open.pop(0)
            yield from self._tried(sink, lambda sink=sink: sink.__exit__(None, None, None))  # type: ignore[misc]
        if self._watch is not None:
            watch, self._watch = self._watch, None
            yield from self._tried(watch, watch.save)

    def give_up(self) -> None:
        """As `close`, where nobody listens any more; nothing is left to do after that."""
        for _ in self.close():
            pass

    def _tried(self, place: Sink | Watch, close: Callable[[], object]) -> Iterator[Event]:
        try:
            close()
        except OutputError as error:
            yield self._fault(place, error)

    def _fault(self, place: Sink | Watch, error: BlemishError) -> SinkFault:
        self.num_faults += 1
        is_first = id(place) not in self._failed
        self._failed.add(id(place))
        return SinkFault(type(place).__name__, error, is_first)


class _Lots:
    """The parts of the lot that is under way; p-values and names are all that is kept of them."""

    def __init__(self, false_discovery_rate: float, num_good: int) -> None:
        self.names: list[str] = []
        self._rate, self._num_good = false_discovery_rate, num_good
        self._p_values: list[float] = []
        self._lot_id = ""

    def has_ended(self, origin: Origin) -> bool:
        """Whether an item is the first of another lot."""
        return bool(self.names) and origin.lot_id != self._lot_id

    def add(self, judged: Judged) -> None:
        self._lot_id = judged.origin.lot_id
        self.names.append(judged.origin.name)
        self._p_values.append(judged.verdict.p_value)

    def judge(self) -> LotJudged:
        lot = judge_lot(self._p_values, num_good=self._num_good, false_discovery_rate=self._rate)
        ended = LotJudged(self._lot_id, tuple(self.names), lot)
        self.names, self._p_values = [], []
        return ended


def _fewer(num_threads: int) -> Notice:
    return Notice(f"memory ran out: going on with {num_threads} image{'s' if num_threads > 1 else ''} at a time")
