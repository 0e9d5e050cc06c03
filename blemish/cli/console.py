"""What all commands share: progress and messages on standard error, JSON on standard output."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from blemish.schema import Progress as ProgressFunction
from blemish.schema import silent


def stderr() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """A message for people, on standard error."""
    stderr().print(message, markup=False)


def print_json(value: Any) -> None:
    """One JSON object on one line of standard output; numbers that are not finite become null."""
    sys.stdout.write(json.dumps(_plain(value), ensure_ascii=False) + "\n")
    sys.stdout.flush()


class RateColumn(ProgressColumn):
    """Steps per second, as `12.3/s`."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s")


@contextmanager
def progress_bars() -> Iterator[ProgressFunction]:
    """A progress function that draws bars with speed and remaining time, or nothing where no person watches."""
    console = stderr()
    if not console.is_terminal:
        yield silent
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(task: str, done: int, total: int) -> None:
            name = task.partition(",")[0]  # what follows tells how it goes: the loss of a training
            if name not in tasks:
                tasks[name] = bars.add_task(task, total=total)
            bars.update(tasks[name], description=task, completed=done, total=total)

        yield show


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
