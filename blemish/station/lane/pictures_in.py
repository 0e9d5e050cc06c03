"""Pictures of a lane's source, read by a thread of its own, so that a camera that hangs hangs nothing else."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from blemish.datasets.listing import list_images
from blemish.errors import BlemishError, DataError, ImageError
from blemish.line.addresses import open_source
from blemish.line.events import Item, Origin
from blemish.line.follow import FollowSource
from blemish.line.sources import ReplaySource, Source, time_of
from blemish.station.core.lane_file import LaneSource
from blemish.text import readable

RETRY_SECONDS = 1.0


class LoopSource:
    """The image files of a folder, again and again: a camera for demonstrations and trials. Raises DataError."""

    size: int | None = None
    is_live = False
    num_missed = 0

    def __init__(self, folder: str | Path) -> None:
        self._paths = list_images([Path(folder)]).images
        if not self._paths:
            raise DataError(f"{folder}: holds no image; put some in, or choose another folder")
        self._is_closed = False

    def __iter__(self) -> Iterator[Item]:
        while not self._is_closed:
            for path in self._paths:
                if self._is_closed:
                    return
                yield Item(Origin(path.name, path), path)

    def close(self) -> None:
        self._is_closed = True


class SeenFiles:
    """Which files of a watched folder were judged: the rows that `FollowSource` reads."""

    def __init__(self, path: Path, names: tuple[str, ...] = ()) -> None:
        self.path = path
        known = path.read_text("utf-8") if path.exists() else ""
        if known and not known.endswith("\n"):  # a kill while it was written
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")
        for name in names:
            if Path(name).exists() and json.dumps(readable(name)) not in known:
                self.add(Item(Origin(name, Path(name)), Path(name)))

    def add(self, item: Item) -> None:
        if item.origin.path is None:
            return
        time_taken = item.origin.time or time_of(item.origin.path)
        if time_taken is None:
            return
        row = {"path": readable(item.origin.name), "time": time_taken.isoformat(), "sorted_to": None}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def open_lane_source(source: LaneSource, seen: SeenFiles) -> Source:
    """The source of a lane. Raises DataError or SettingsError."""
    if source.kind == "watch":
        return FollowSource(source.place, record=seen.path)
    if source.kind == "replay":
        looped = LoopSource(source.place)
        return looped if source.trigger == "plc" else ReplaySource(looped, source.rate)
    return open_source(source.place)


class PictureReader:
    """Gives the pictures of a source, one for each time it is asked. The source is opened again until it is back.

    `trouble` gets why it gives nothing, and "" when it does.
    """

    def __init__(self, open_it: Callable[[], Source], trouble: Callable[[str], object]) -> None:
        self._open, self._trouble = open_it, trouble
        self._changed = threading.Condition()
        self._asked = 0
        self._given: Item | None = None
        self._answered = 0
        self._source: Source | None = None
        self._is_closed = False
        threading.Thread(target=self._run, name="pictures in", daemon=True).start()

    def take(self, seconds: float) -> Item:
        """The next picture. Raises ImageError where none comes in that time; one that comes later is thrown away."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._asked += 1
            self._changed.notify_all()
            while self._answered < self._asked:
                left = deadline - time.monotonic()
                if left <= 0 or self._is_closed:
                    raise ImageError(f"no picture within {max(0.0, seconds):.1f} s; check camera, cable and power")
                self._changed.wait(left)
            given, self._given = self._given, None
        assert given is not None
        return given

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._source is not None:
            self._source.close()

    def _run(self) -> None:
        while not self._is_closed:
            try:
                self._source = self._open()
                self._read(self._source)
                self._tell("the source has ended")
            except BlemishError as error:
                self._tell(str(error))
            except Exception as error:
                self._tell(f"{type(error).__name__}: {error}")
            time.sleep(RETRY_SECONDS)

    def _read(self, source: Source) -> None:
        items: Any = iter(source)
        while True:
            with self._changed:
                while self._answered >= self._asked and not self._is_closed:
                    self._changed.wait()
                if self._is_closed:
                    return
                wanted = self._asked
            item = next((given for given in items if isinstance(given, Item)), None)
            if item is None:
                return
            with self._changed:
                if wanted == self._asked:
                    self._given, self._answered = item, wanted
                    self._changed.notify_all()
            self._trouble("")

    def _tell(self, text: str) -> None:
        if not self._is_closed:
            self._trouble(text)
