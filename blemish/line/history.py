"""The history of a line in one SQLite file: verdicts, and what else happened."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from blemish.datasets.left_out import LeftOut
from blemish.errors import OutputError
from blemish.files import make_folder
from blemish.line.events import DriftAlarm, Event, Judged, LotJudged, Notice, Unreadable
from blemish.line.sinks import event_row
from blemish.text import json_text, readable

VERDICT_COLUMNS = {
    "path": "TEXT NOT NULL",
    "time": "TEXT",
    "decision": "TEXT",
    "score": "REAL",
    "threshold": "REAL",
    "p_value": "REAL",
    "display_score": "REAL",
    "num_regions": "INTEGER",
    "regions": "TEXT",
    "milliseconds": "REAL",
    "reasons": "TEXT",
    "error": "TEXT",
    "overlay": "TEXT",
    "sorted_to": "TEXT",
    "part_id": "TEXT",
    "lot_id": "TEXT",
    "bundle_id": "TEXT NOT NULL",
}
"""Columns of the table `verdicts`; `regions` and `reasons` are JSON."""
WAIT_SECONDS = 10.0
"""How long another program may hold the file."""


class HistorySink:
    """Keeps verdicts and unreadable images in the table `verdicts`, the other events in `events`, of a SQLite file.

    A verdict on the same file (path and time of change) by the same bundle is kept once.

        SELECT decision, count(*) FROM verdicts WHERE time > '2026-11-26' GROUP BY decision
    """

    needs_picture = False

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._file: sqlite3.Connection | None = None

    def __enter__(self) -> HistorySink:
        make_folder(self._path.parent)
        columns = ", ".join(f"{name} {kind}" for name, kind in VERDICT_COLUMNS.items())
        try:
            # Autocommit: each event is a transaction of its own. The stream writes from one thread, whichever it is.
            self._file = sqlite3.connect(self._path, WAIT_SECONDS, isolation_level=None, check_same_thread=False)
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = NORMAL")
            self._file.execute(f"CREATE TABLE IF NOT EXISTS verdicts ({columns})")
            self._file.execute(
                "CREATE TABLE IF NOT EXISTS events (time TEXT NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL)"
            )
            self._file.execute("CREATE UNIQUE INDEX IF NOT EXISTS once ON verdicts (path, time, bundle_id)")
            found = [row[1] for row in self._file.execute("PRAGMA table_info(verdicts)")]
        except sqlite3.Error as error:
            self._close()
            raise self._fault(error) from error
        if found != list(VERDICT_COLUMNS):
            self._close()
            raise OutputError(f"{self._path}: its table `verdicts` has other columns; choose another file")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def write(self, event: Event) -> None:
        if self._file is None:
            raise ValueError("the sink is not open: use it in a `with` block")
        try:
            if isinstance(event, (Judged, Unreadable)):
                row = event_row(event, self._path.parent) or {}
                cells = [_cell(row.get(name)) for name in VERDICT_COLUMNS]
                marks = ", ".join("?" * len(cells))
                self._file.execute(f"INSERT OR REPLACE INTO verdicts VALUES ({marks})", cells)
            elif (text := _text(event)) is not None:
                now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
                self._file.execute("INSERT INTO events VALUES (?, ?, ?)", (now, *text))
        except sqlite3.Error as error:
            raise self._fault(error) from error

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _fault(self, error: sqlite3.Error) -> OutputError:
        return OutputError(f"{self._path}: cannot be written ({error}); free the place or choose another")


def _cell(value: object) -> object:
    return json_text(value) if isinstance(value, (list, dict)) else value


def _text(event: Event) -> tuple[str, str] | None:
    """The kind of an event and what it says."""
    if isinstance(event, DriftAlarm):
        return "drift", event.report.sentence
    if isinstance(event, LeftOut):
        return "left_out", f"{readable(event.path)}: {event.reason}"
    if isinstance(event, LotJudged):
        rejected = [name for name, is_rejected in zip(event.names, event.lot.is_rejected, strict=True) if is_rejected]
        return "lot", json_text({"lot_id": event.lot_id, "num_parts": len(event.names), "rejected": rejected})
    return ("notice", readable(event.message)) if isinstance(event, Notice) else None
