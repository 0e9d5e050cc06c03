"""How long work takes, for people: one bar over all of a command with the time left, or plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from blemish.cli.console import Stream, say
from blemish.schema import Progress as ProgressFunction

Plan = Sequence[tuple[str, float]]
"""The works of a command in their order, by the beginning of their names, and about how long each takes."""

FROZEN: Plan = (
    ("checking images", 1),
    ("comparing good images", 2),
    ("choosing the input size", 12),
    ("cutting tiles", 2),
    ("reading features", 8),
    ("choosing patches", 4),
    ("choosing bank", 5),
    ("fitting without", 8),
    ("measuring usual", 2),
    ("scoring held-out", 6),
    ("calibrating", 1),
    ("inspecting painted", 20),
)
"""Training of a detector on frozen features; what a training leaves out is jumped over."""
LEARNED: Plan = (*FROZEN[:5], ("training", 120), *FROZEN[7:])
"""Training of a detector with learned weights."""
TEACHING: Plan = (*FROZEN[:10], ("learning what was shown", 12), ("calibrating", 1), FROZEN[11], ("comparing with", 4))
EVALUATION: Plan = (("inspecting test", 10), ("reading maps", 10))
STUDY: Plan = (("looking at the data", 1), ("running the study", 40), ("comparing parts", 2))

FIRST_LINE_SECONDS, LINE_SECONDS = 3.0, 10.0
"""When a log gets its first line of progress, and how long after it the next; long work gets fewer."""


class Overall:
    """What share of all the work is done, from the reports of its parts; it never falls.

    >>> overall = Overall((("reading", 1), ("painting", 3)))
    >>> overall.update("reading features", 1, 2), overall.update("painting", 1, 3), overall.update("reading", 1, 2)
    (0.125, 0.5, 0.5)
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._total = sum(weight for _, weight in plan)
        self._share = 0.0

    def update(self, task: str, done: int, total: int) -> float:
        before = 0.0
        for name, weight in self._plan:
            if task.startswith(name):
                now = (before + weight * min(done / max(total, 1), 1.0)) / self._total
                self._share = max(self._share, now)
                break
            before += weight
        return self._share


def seconds_left(share: float, seconds: float) -> str:
    """`about 40 s left`, from the share done in so many seconds; empty where that tells nothing yet.

    >>> seconds_left(0.2, 10), seconds_left(0.5, 600), seconds_left(0.001, 1)
    ('about 40 s left', 'about 10 min left', '')
    """
    if share < 0.02 or share >= 1:
        return ""
    left = seconds * (1 - share) / share
    if left < 90:
        return f"about {max(1, round(left, -1) if left > 20 else round(left)):.0f} s left"
    return f"about {left / 60:.0f} min left" if left < 5400 else f"about {left / 3600:.1f} h left"


@contextmanager
def progress_bars(*plan: tuple[str, float]) -> Iterator[ProgressFunction]:
    """A progress function for all the work of a command, which `plan` lists; without one, each work is all there is."""
    start = time.monotonic()
    if not sys.stderr.isatty():
        yield _Lines(plan, start)
        return
    terminal = Stream(sys.stderr.buffer, is_raw=True)
    bars = Progress(
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.description}", markup=False),
        console=Console(file=terminal, highlight=False, soft_wrap=True),
        transient=True,
        # Lines shown on the same terminal go above the bar; those for a file or a program must go there.
        redirect_stdout=sys.stdout.isatty(),
    )
    overall = Overall(plan)
    try:
        with bars:
            bar = bars.add_task("", total=1.0)

            def advance(task: str, done: int, total: int) -> None:
                share = overall.update(task, done, total) if plan else done / max(total, 1)
                left = seconds_left(share, time.monotonic() - start)
                bars.update(bar, completed=share, description=_sentence(task, done, total, left))

            yield advance
    finally:
        terminal.detach()


class _Lines:
    """Progress as lines of a log: the share done, what is being done, the time left."""

    def __init__(self, plan: Plan, start: float) -> None:
        self._overall = Overall(plan)
        self._has_plan, self._start = bool(plan), start
        self._next = FIRST_LINE_SECONDS

    def __call__(self, task: str, done: int, total: int) -> None:
        share = self._overall.update(task, done, total) if self._has_plan else done / max(total, 1)
        seconds = time.monotonic() - self._start
        if seconds >= self._next and share < 1:
            self._next = seconds + max(LINE_SECONDS, seconds / 10)
            say(f"{share:4.0%}  {_sentence(task, done, total, seconds_left(share, seconds))}")


def _sentence(task: str, done: int, total: int, left: str) -> str:
    steps = f" ({done:,} of {total:,})" if total > 1 else ""
    return f"{task}{steps}{f', {left}' if left else ''}"
