"""Where images come from: files and folders, arrays and queues of a Python program, another source at a rate.

A source is iterated once, by one thread, and closed by any. What it gives is taken no sooner than there is room for it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blemish.datasets.left_out import LeftOut
from blemish.datasets.listing import list_images
from blemish.errors import ImageError, SettingsError
from blemish.images.taken import load_image
from blemish.line.events import Item, Origin

Given: TypeAlias = Item | LeftOut
"""What a source gives: an image, or a file that could be one and is left out."""


WAIT_SECONDS = 0.1
"""How long a source waits at most before it looks whether it was closed."""
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Source(Protocol):
    """What gives images, one after the other.

    `size` is how many items there are, None where nobody knows. Where `is_live`, an item grows old while it waits: it
    is taken only when a thread is free to look at it. `num_missed` counts pictures that went by meanwhile.
    """

    @property
    def size(self) -> int | None: ...

    @property
    def is_live(self) -> bool: ...

    @property
    def num_missed(self) -> int: ...

    def __iter__(self) -> Iterator[Given]: ...

    def close(self) -> None:
        """Ends the iteration soon, also one that waits in another thread; may be called more than once."""


class FileSource:
    """The image files named and those in and below the folders named, by the rule of `blemish.datasets.listing`.

    Raises DataError where a place does not exist or a folder holds no image.

    >>> FileSource(["no such folder"])
    Traceback (most recent call last):
    blemish.errors.DataError: no such folder: no such file or folder; check the path
    """

    is_live = False
    num_missed = 0

    def __init__(self, places: Iterable[str | Path]) -> None:
        listing = list_images([Path(place) for place in places])
        self.paths, self._left_out = listing.images, listing.left_out
        self.size: int | None = len(self.paths)
        self._is_closed = False

    def __iter__(self) -> Iterator[Given]:
        yield from self._left_out
        for path in self.paths:
            if self._is_closed:
                return
            yield Item(Origin(str(path), path), path)

    def close(self) -> None:
        self._is_closed = True


class ArraySource:
    """Images of a Python program, from any iterable: see `load_image` for those taken; or whole `Item`s.

    Images are named by their number. One that cannot be used is an unreadable item.
    """

    is_live = False
    num_missed = 0

    def __init__(self, arrays: Iterable[NDArray[Any] | Item], *, name: str = "image") -> None:
        self.size: int | None = len(arrays) if isinstance(arrays, Sequence) else None
        self._arrays, self._name = arrays, name
        self._is_closed = False

    def __iter__(self) -> Iterator[Given]:
        for number, array in enumerate(self._arrays):
            if self._is_closed:
                return
            yield array if isinstance(array, Item) else item_of(array, f"{self._name} {number}")

    def close(self) -> None:
        self._is_closed = True


class QueueSource:
    """What a Python program puts into a `queue.Queue`: arrays or `Item`s; None is the last."""

    size: int | None = None
    is_live = False
    num_missed = 0

    def __init__(self, images: queue.Queue[Any], *, name: str = "image") -> None:
        self._queue, self._name = images, name
        self._closing = threading.Event()

    def __iter__(self) -> Iterator[Given]:
        number = 0
        while not self._closing.is_set():
            try:
                given = self._queue.get(timeout=WAIT_SECONDS)
            except queue.Empty:
                continue
            if given is None:
                return
            yield given if isinstance(given, Item) else item_of(given, f"{self._name} {number}")
            number += 1

    def close(self) -> None:
        self._closing.set()


class ReplaySource:
    """Another source, its items at most `rate` times a second: a line made of a folder."""

    def __init__(self, source: Source, rate: float) -> None:
        if not rate > 0:
            raise SettingsError(f"a rate of {rate:g} images per second; give a number above 0")
        self._source, self._rate, self._pause = source, rate, 1 / rate
        self.size, self.is_live = source.size, source.is_live
        self._closing = threading.Event()

    def __reduce__(self) -> tuple[type[ReplaySource], tuple[Source, float]]:
        return type(self), (self._source, self._rate)

    @property
    def num_missed(self) -> int:
        return self._source.num_missed

    def __iter__(self) -> Iterator[Given]:
        due = time.monotonic()
        for given in self._source:
            if isinstance(given, Item):
                if self._closing.wait(max(0.0, due - time.monotonic())):
                    return
                due = max(due, time.monotonic() - self._pause) + self._pause
            yield given

    def close(self) -> None:
        self._closing.set()
        self._source.close()


def item_of(array: Any, name: str, time: datetime | None = None) -> Item:
    """A copy of what `load_image` takes, as an item; as of now where no time is given; with the error if it is none."""
    origin = Origin(name, time=time or datetime.now(timezone.utc))
    if isinstance(array, np.ndarray):
        return Item(origin, array.copy())  # the program may use its buffer again
    try:
        return Item(origin, load_image(array, name=name))
    except ImageError as error:
        return Item(origin, error if str(error).startswith(f"{name}: ") else ImageError(f"{name}: {error}"))


def time_of(path: Path, state: tuple[int, int] | None = None) -> datetime | None:
    """When a file was last changed (the first number of its `state`, in nanoseconds); None where nobody can tell."""
    try:
        return EPOCH + timedelta(microseconds=(path.stat().st_mtime_ns if state is None else state[0]) // 1000)
    except (OSError, OverflowError):
        return None
