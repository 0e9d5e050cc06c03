"""Where the time of a fit goes, told by the progress that it reports anyway."""

from __future__ import annotations

import time
from collections.abc import Mapping

from blemish.schema import Progress


class PartTimes:
    """A `Progress` that adds up seconds by work and passes everything on: time belongs to the work that reports next.

    What follows a comma in the name of a work tells how it goes and is left out.

    >>> times = PartTimes(lambda task, done, total: None)
    >>> times("training, loss 0.2", 1, 2), times("training, loss 0.1", 2, 2)
    (None, None)
    >>> list(times.seconds)
    ['training']
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._last = time.perf_counter()
        self._seconds: dict[str, float] = {}

    def __call__(self, task: str, done: int, total: int) -> None:
        now = time.perf_counter()
        name = task.partition(",")[0]
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._last
        self._last = now
        self._progress(task, done, total)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by work, in the order of their first reports, to the millisecond."""
        return {name: round(value, 3) for name, value in self._seconds.items()}


def parts_sentence(seconds: Mapping[str, float]) -> str:
    """The parts, the longest first, as `reading features 3.1 s, choosing bank entries 1.2 s`; short ones are left out.

    >>> parts_sentence({"calibrating": 0.01, "choosing bank entries": 1.23, "reading features": 3.14})
    'reading features 3.1 s, choosing bank entries 1.2 s'
    """
    longest = sorted(seconds.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {value:.1f} s" for name, value in longest if value >= 0.05)
