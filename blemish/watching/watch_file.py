"""The files of a drift watch: its state in JSON, and beside it a journal with a line for each part since.

So a part costs little to keep, and neither a kill nor another process that watches into the same files loses one.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pydantic import TypeAdapter, ValidationError

from blemish.errors import CalibrationError, OutputError
from blemish.files import beside, locked, write_file
from blemish.schema import Calibration
from blemish.watching.drift import DriftState, check_state, reference_of

MOST_BYTES = 64 * 2**20
"""Of a file that is read: many times what a watch over 10,000 good images takes."""
PATIENCE_SECONDS = 5.0
"""For another process that is at the files, which takes milliseconds."""

Values: TypeAlias = tuple[float, ...]
"""Of one part, one for each condition."""


@dataclass(frozen=True)
class SavedWatch:
    """What the file holds; a watch belongs to one graph and one set of good images."""

    graph_sha256: str
    state: DriftState


@dataclass(frozen=True)
class Found:
    """A state that can be gone on from, or why the one in the file cannot; both empty where there is no file."""

    state: DriftState | None
    obstacle: str = ""
    is_damaged: bool = False


@dataclass(frozen=True)
class JournalLine:
    """One part, its number counted from 1."""

    part: int
    values: Values


SAVED = TypeAdapter(SavedWatch)
LINE = TypeAdapter(JournalLine)


class WatchFile:
    """The files at `path`; all but `lock` are to be called inside the lock. Raises OutputError where one cannot be
    read or written.
    """

    def __init__(self, path: Path, calibration: Calibration) -> None:
        self.path = path
        self._calibration = calibration
        self._place = Path(os.path.realpath(path))
        self._journal = beside(self._place, "journal")
        self._stamp: tuple[int, int, int] | None = None
        self._journal_end = 0

    def lock(self) -> AbstractContextManager[None]:
        """Inside, no other process reads or changes the files."""
        return locked(self._place, patience_seconds=PATIENCE_SECONDS)

    @property
    def exists(self) -> bool:
        return os.path.lexists(self._place)

    @property
    def was_replaced(self) -> bool:
        """Whether the state is another one than was read or written here last."""
        return self._stamp is None or self._stamp != _stamp(self._place)

    def read(self) -> Found:
        """What the file holds, now."""
        self._stamp, self._journal_end = None, 0
        stamp = _stamp(self._place)
        content = _read(self._place, self.path)
        self._stamp = stamp
        if content is None:
            return Found(None)
        try:
            saved = SAVED.validate_json(content)
            if saved.graph_sha256 != self._calibration.graph_sha256:
                return Found(None, "belongs to another bundle, or to this one before its graph was changed")
            if saved.state.reference != reference_of(self._calibration.conditions):
                return Found(None, "was begun under another calibration, with other good images")
            check_state(saved.state, self._calibration.conditions)
        except (ValidationError, CalibrationError):
            return Found(None, "is damaged", is_damaged=True)
        return Found(saved.state)

    def read_journal(self, num_parts: int) -> Iterator[Values]:
        """The parts in the journal after number `num_parts` that were not read here before.

        A torn line, which a power cut can leave, ends it; the next part is written over it.
        """
        content = _read(self._journal, self.path, self._journal_end) or b""
        for text in content.splitlines(keepends=True):
            try:
                line = LINE.validate_json(text)
            except ValidationError:
                return
            is_whole = text.endswith(b"\n") and len(line.values) == len(self._calibration.conditions)
            if not is_whole or line.part > num_parts + 1 or not all(map(math.isfinite, line.values)):
                return
            self._journal_end += len(text)
            if line.part == num_parts + 1:  # others were in the state already when it was written
                num_parts += 1
                yield line.values

    def append(self, parts: Sequence[Values], num_parts: int) -> None:
        """Writes parts to the journal, the first of which is number `num_parts + 1`."""
        lines = [LINE.dump_json(JournalLine(num_parts + number, values)) for number, values in enumerate(parts, 1)]
        content = b"".join(line + b"\n" for line in lines)
        try:
            with self._journal.open("r+b" if self._journal.exists() else "w+b") as file:
                file.truncate(self._journal_end)
                file.seek(self._journal_end)
                file.write(content)
        except OSError as error:
            with contextlib.suppress(OSError):  # whole lines among what was written would count twice
                os.truncate(self._journal, self._journal_end)
            raise _fault(self.path, "written", error) from error
        self._journal_end += len(content)

    def replace(self, state: DriftState) -> None:
        """Writes the state, which holds all parts, in place of both files."""
        write_file(self._place, SAVED.dump_json(SavedWatch(self._calibration.graph_sha256, state)))
        self._stamp = _stamp(self._place)
        self.remove_journal()

    def put_aside(self) -> Path:
        """Renames a state of no use, and gives its new place."""
        aside = self._place.with_name(f"{self._place.name}.old")
        self.remove_journal()
        try:
            os.replace(self._place, aside)
        except OSError as error:
            raise _fault(self.path, "renamed", error) from error
        return aside

    def remove_journal(self) -> None:
        self._journal_end = 0
        try:
            self._journal.unlink(missing_ok=True)
        except OSError as error:
            raise _fault(self.path, "written", error) from error


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Tells one state of a file that is replaced from another, without reading it."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: Path, shown: Path, start: int = 0) -> bytes | None:
    """The content from `start` on, None where there is no file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OutputError(f"{shown}: not a file, so no drift watch can be kept there; choose another place")
        with path.open("rb") as file:
            file.seek(start)
            return file.read(MOST_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _fault(shown, "read", error) from error


def _fault(path: Path, what: str, error: OSError) -> OutputError:
    cause = (error.strerror or str(error)).lower()
    return OutputError(f"{path}: the drift watch cannot be {what} ({cause}); free the place or choose another")
