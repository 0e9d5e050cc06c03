"""The drift watch of a stream of verdicts, kept in a file between runs and shared by all runs that name that file."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from blemish.errors import OutputError
from blemish.schema import Calibration, Verdict
from blemish.watching.drift import DriftMonitor, DriftReport
from blemish.watching.watch_file import Values, WatchFile

JOURNAL_PARTS = 1000
"""After so many parts the state is written anew, so that the journal stays short."""
RETRY_SECONDS = 10.0
"""Before a place that could not be written to is tried again."""


class Watch:
    """Takes verdicts in the order of production; goes on from `path` where there is a file.

    Each part is kept as soon as `update` has taken it. Of several processes with one file each takes in the parts of
    the others. A file that is damaged or was begun under another calibration is renamed and a new watch begins: `tell`
    is called with a sentence that names it. What cannot be written stops nothing; `save` raises it.
    """

    def __init__(
        self, calibration: Calibration, path: Path | None = None, tell: Callable[[str], None] = lambda message: None
    ) -> None:
        self._calibration, self._tell = calibration, tell
        self._file = None if path is None else WatchFile(path, calibration)
        self._monitor = DriftMonitor(calibration.conditions)
        self._num_written = 0
        self._unwritten: list[Values] = []
        self._is_torn = False
        self._next_try = 0.0
        if self._file is not None and self._file.exists:
            with contextlib.suppress(OutputError), self._file.lock():
                self._take_in(self._file)

    def update(self, verdict: Verdict) -> DriftReport:
        """Takes in one part and says where the watch stands."""
        values = tuple(map(float, verdict.conditions))
        report = None
        if self._file is not None and time.monotonic() >= self._next_try:
            try:
                with self._file.lock():
                    self._take_in(self._file)
                    report = self._take(values)
                    self._write()
            except OutputError:
                self._next_try = time.monotonic() + RETRY_SECONDS
        return report or self._take(values)

    def report(self) -> DriftReport:
        """Where the watch stands now."""
        return self._monitor.report()

    def save(self) -> None:
        """Writes one whole file of all parts; it survives a power cut. Raises OutputError."""
        if self._file is not None:
            with self._file.lock():
                self._take_in(self._file)
                self._write(is_last=True)

    def _take(self, values: Values) -> DriftReport:
        self._is_torn = True  # until both are done: a signal can end the run between them
        report = self._monitor.update(values)
        self._unwritten.append(values)
        self._is_torn = False
        return report

    def _take_in(self, file: WatchFile) -> None:
        """Brings in what others wrote since; at first, what earlier runs wrote."""
        if not (file.was_replaced or self._unwritten or self._is_torn):
            self._replay(file)
            return
        is_first = not (self._num_written or self._unwritten)
        found = file.read()
        if found.obstacle and not found.is_damaged and not is_first:
            self._tell(f"{file.path}: this drift watch now {found.obstacle}; that of this run is not kept any longer")
            self._file = None
        elif found.obstacle:
            aside = file.put_aside()
            self._tell(f"{file.path}: this drift watch {found.obstacle}; a new one begins, the old one is {aside}")
        elif found.state is None:
            file.remove_journal()
        if found.state is not None or is_first:
            self._monitor = DriftMonitor(self._calibration.conditions, found.state)
            self._num_written = found.state.num_parts if found.state else 0
            self._replay(file)
            for values in self._unwritten:
                self._monitor.update(values)
            self._is_torn = False

    def _replay(self, file: WatchFile) -> None:
        for values in file.read_journal(self._num_written):
            self._monitor.update(values)
            self._num_written += 1

    def _write(self, *, is_last: bool = False) -> None:
        if self._file is None:
            return
        num_parts = self._num_written + len(self._unwritten)
        if is_last or not self._file.exists or num_parts // JOURNAL_PARTS > self._num_written // JOURNAL_PARTS:
            self._file.replace(self._monitor.state)
        else:
            self._file.append(self._unwritten, self._num_written)
        self._num_written, self._unwritten = num_parts, []
