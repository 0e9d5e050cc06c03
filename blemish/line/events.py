"""What passes along a line: the items of a source, and the events that a stream makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from blemish.datasets.left_out import LeftOut
from blemish.decisions.lot import Lot
from blemish.errors import BlemishError, ImageError
from blemish.schema import Verdict
from blemish.watching.drift import DriftReport


@dataclass(frozen=True)
class Origin:
    """Where an image comes from.

    `name` stands in verdicts and messages. `path` is its file, None where there is none. `time`, with a time zone, is
    when it was taken, as far as is known: for a file, when it was last changed. The ids are "" where unknown.
    """

    name: str
    path: Path | None = None
    time: datetime | None = None
    part_id: str = ""
    lot_id: str = ""

    def __post_init__(self) -> None:
        if self.time is not None and self.time.tzinfo is None:
            raise ValueError(f"{self.name}: the time {self.time} has no time zone; use datetime.now(timezone.utc)")


@dataclass(frozen=True)
class Item:
    """One image of a source.

    `content` is what there is of it: a file, read when its turn comes; the bytes of one; an array, see `as_image`; or
    the error that took its place.
    """

    origin: Origin
    content: Path | bytes | NDArray[Any] | ImageError = field(repr=False)


@dataclass(frozen=True)
class Judged:
    """A verdict. `picture` is its overlay as PNG where a sink asked for one.

    The rest is what sinks did: where the overlay is kept, where the image was moved or copied to, and whether every
    sink so far has kept the verdict.
    """

    origin: Origin
    verdict: Verdict
    picture: bytes | None = field(default=None, repr=False)
    overlay: Path | None = None
    sorted_to: Path | None = None
    is_kept: bool = True


@dataclass(frozen=True)
class Unreadable:
    """An item that there is no verdict on, and why. The rest is as in `Judged`."""

    origin: Origin
    error: ImageError
    bundle_id: str
    sorted_to: Path | None = None
    is_kept: bool = True


@dataclass(frozen=True)
class DriftAlarm:
    """The parts no longer look like the good images; given once a run, also where an earlier run raised the alarm."""

    report: DriftReport


@dataclass(frozen=True)
class LotJudged:
    """A lot that has ended, judged as one: `names` of its parts, in the order of `lot.is_rejected`."""

    lot_id: str
    names: tuple[str, ...]
    lot: Lot


@dataclass(frozen=True)
class SinkFault:
    """A sink could not keep an event. The stream goes on; `is_first` for the first time that this sink failed."""

    sink: str
    error: BlemishError
    is_first: bool


@dataclass(frozen=True)
class Notice:
    """What a person should know of the run itself."""

    message: str


@dataclass(frozen=True)
class End:
    """The last event: images by decision and "unreadable", and what else happened in `seconds`.

    `num_missed` counts the pictures of a live source that nobody had time for.
    """

    counts: Mapping[str, int]
    num_left_out: int
    num_missed: int
    num_faults: int
    seconds: float

    @property
    def num_images(self) -> int:
        return sum(self.counts.values())


Event: TypeAlias = Judged | Unreadable | LeftOut | DriftAlarm | LotJudged | SinkFault | Notice | End

COUNTED = ("accept", "review", "reject", "unreadable")
"""The names in `End.counts`."""
