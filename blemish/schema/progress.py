"""How long work reports itself, and how it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from blemish.errors import Cancelled


class Progress(Protocol):
    """How long work reports itself: called with the work's name, the steps done and the steps in all."""

    def __call__(self, task: str, done: int, total: int) -> None: ...


def silent(task: str, done: int, total: int) -> None:
    """A `Progress` that says nothing."""


Cancel: TypeAlias = Callable[[], bool]
"""Asked between the steps of long work, from the thread that does it: True stops the work with `Cancelled`."""


def never() -> bool:
    """A `Cancel` that lets all work finish."""
    return False


def cancellable(progress: Progress, cancel: Cancel) -> Progress:
    """The progress, which raises `Cancelled` in place of the first report after `cancel` has said True.

    >>> cancellable(silent, lambda: True)("reading features", 3, 10)
    Traceback (most recent call last):
    ...
    blemish.errors.Cancelled: cancelled while reading features (3 of 10 done)
    """

    def report(task: str, done: int, total: int) -> None:
        if cancel():
            raise Cancelled(f"cancelled while {task} ({done} of {total} done)")
        progress(task, done, total)

    return report
