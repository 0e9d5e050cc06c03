"""How many threads work at once: one budget, set by whoever begins the work and passed down to all that does it.

OpenCV, and the library that NumPy multiplies matrices with, have threads of their own for the whole process. They are
held to the budget of the work that runs.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from blemish.errors import SettingsError

if TYPE_CHECKING:
    import threadpoolctl


def usable_cores() -> int:
    """The number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def budget(threads: int = 0) -> int:
    """The number of threads that `threads` asks for: 0 is one for each core. Raises SettingsError below 0.

    >>> budget(3), budget() == usable_cores()
    (3, True)
    """
    if threads < 0:
        raise SettingsError(f"threads is {threads}: give 1 or more, or 0 for one on each core")
    return threads or usable_cores()


@contextlib.contextmanager
def at_most(threads: int) -> Iterator[None]:
    """Inside, OpenCV and NumPy use no more threads than this, in the whole process.

    Of several works at once the smallest budget counts; what was before comes back when the last one ends.
    """
    _libraries.begin(threads)
    try:
        yield
    finally:
        _libraries.end(threads)


class _Libraries:
    """The threads of libraries, and the budgets of the works that run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._budgets: list[int] = []
        self._opencv_threads = 0
        self._limits: threadpoolctl.threadpool_limits | None = None

    def begin(self, threads: int) -> None:
        import cv2

        with self._lock:
            if not self._budgets:
                self._opencv_threads = cv2.getNumThreads()
            self._budgets.append(threads)
            self._apply()

    def end(self, threads: int) -> None:
        with self._lock:
            self._budgets.remove(threads)
            self._apply()

    def _apply(self) -> None:
        import cv2
        import threadpoolctl

        if self._limits is not None:
            self._limits.restore_original_limits()
            self._limits = None
        most = min([self._opencv_threads, *self._budgets])
        cv2.setNumThreads(most)
        if self._budgets and most < usable_cores():
            self._limits = threadpoolctl.threadpool_limits(most)


_libraries = _Libraries()
