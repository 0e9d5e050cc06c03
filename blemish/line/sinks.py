"""Places that events are kept in: JSON lines, a table, a folder of overlays; and all of them as one output folder.

A sink is a context manager with one verb, `write`. What it has taken is with the system before the next event comes: a
kill in the middle of a lot loses nothing that was kept before.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol

import numpy as np

from blemish.datasets.listing import OVERLAYS, VERDICTS
from blemish.errors import OutputError
from blemish.files import in_turn, make_folder, write_new_file
from blemish.line.events import DriftAlarm, Event, Judged, Unreadable
from blemish.text import cut_name, json_text, readable, table_cell

CSV_COLUMNS = (
    "path",
    "time",
    "decision",
    "display_score",
    "num_regions",
    "region_x",
    "region_y",
    "region_width",
    "region_height",
    "region_area_px",
    "region_area_mm2",
    "region_length_px",
    "region_length_mm",
    "reasons",
    "error",
    "overlay",
    "sorted_to",
    "part_id",
    "lot_id",
    "milliseconds",
    "p_value",
    "score",
    "threshold",
    "bundle_id",
)
"""The columns of a table. `region_` tells of the first region, that with the largest peak; the JSON lines have all."""
_DECIMALS = {
    "display_score": 1,
    "region_area_px": 1,
    "region_area_mm2": 4,
    "region_length_px": 1,
    "region_length_mm": 3,
    "milliseconds": 1,
}
BYTE_ORDER_MARK = "\ufeff"
"""Without it spreadsheet programs take UTF-8 for a code page."""
TABLE = "verdicts.csv"
_HEADER = BYTE_ORDER_MARK + ",".join(CSV_COLUMNS)
UNFINISHED_SECONDS = 1.0
"""So old is a row without its fellow at least, before nobody can be about to write that."""


class Sink(Protocol):
    """What keeps events: entered once, written to once for each event in order, left once.

    `needs_picture` asks for `Judged.picture`. What cannot be kept is raised as OutputError; the next event comes all
    the same.
    """

    needs_picture: bool

    def __enter__(self) -> Sink: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, event: Event) -> Event | None:
        """Keeps an event, or passes over one of no interest; gives it back with what later sinks should know of it."""


def event_row(event: Event, folder: Path | None = None) -> dict[str, Any] | None:
    """The event as flat JSON names and plain values, None where it is no row: verdicts, unreadable items, drift alarms.

    A verdict has a `decision`, an item without one an `error`, and a drift alarm `"event": "drift"`. Files that sinks
    wrote are named from `folder` on, where they lie in it.
    """
    if isinstance(event, (Judged, Unreadable)):
        origin, found = event.origin, {}
        if isinstance(event, Judged):
            found = {**event.verdict.to_dict(), "overlay": _place(event.overlay, folder)}
        else:
            found = {"error": readable(str(event.error)), "bundle_id": event.bundle_id}
        return {
            "path": readable(origin.name),
            "time": None if origin.time is None else origin.time.isoformat(timespec="microseconds"),
            **{name: value for name, value in found.items() if name != "path"},
            "sorted_to": _place(event.sorted_to, folder),
            "part_id": origin.part_id,
            "lot_id": origin.lot_id,
        }
    return {"event": "drift", **dataclasses.asdict(event.report)} if isinstance(event, DriftAlarm) else None


class JsonLinesSink:
    """One JSON object a line for each verdict and each unreadable item, appended to `path`.

    A line torn by an earlier kill is taken off first.
    """

    needs_picture = False

    def __init__(self, path: Path) -> None:
        self._lines = _LineFile(Path(path), _is_json_row, lambda torn: torn.startswith(b"{"))

    def __enter__(self) -> JsonLinesSink:
        self._lines.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()

    def write(self, event: Event) -> None:
        if isinstance(event, (Judged, Unreadable)):
            self._lines.append(json_text(event_row(event, self._lines.path.parent)))


class CsvSink:
    """One row for each verdict and each unreadable item, appended to `path` under a header, for spreadsheet programs.

    UTF-8 with a byte order mark, local times, rounded numbers, no outlines; no cell is a formula. See `CSV_COLUMNS`.
    """

    needs_picture = False

    def __init__(self, path: Path) -> None:
        self._lines = _LineFile(Path(path), _is_csv_row, _is_torn_csv, header=_HEADER)

    def __enter__(self) -> CsvSink:
        self._lines.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()

    def write(self, event: Event) -> None:
        if not isinstance(event, (Judged, Unreadable)):
            return
        cells = _table_cells(event_row(event, self._lines.path.parent) or {})
        text = io.StringIO()
        csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n").writerow(cells)
        self._lines.append(text.getvalue()[:-1])


class OverlaySink:
    """A PNG for each verdict in `folder`, as `<folder of the image>/<stem>.png`; no file is ever replaced.

    Where there is a file of that name, the new one gets `_2`.
    """

    needs_picture = True

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder)
        self._names = NewNames()

    def __enter__(self) -> OverlaySink:
        make_folder(self._folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, event: Event) -> Event | None:
        if not isinstance(event, Judged):
            return None
        picture = event.picture
        if picture is None:
            raise OutputError(f"{event.origin.name}: an overlay needs the picture beside the verdict")
        source = Path(event.origin.name)
        folder = self._folder / file_name(source.parent.name)
        path = self._names.make(
            folder, file_name(source.stem) or "image", ".png", lambda path: write_new_file(path, picture)
        )
        return dataclasses.replace(event, overlay=path)


class MapSink:
    """The raw anomaly map of each verdict in `folder`, as `.npy`: float32 (height, width), of the graph's map size.

    A map is named after the last two folders of its image, so that `blemish evaluate --maps` finds those of a data set:
    `test/scratch/000.npy`. No file is ever replaced: where there is one of that name, the new one gets `_2`.
    """

    needs_picture = False

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder)
        self._names = NewNames()

    def __enter__(self) -> MapSink:
        make_folder(self._folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, event: Event) -> None:
        if not isinstance(event, Judged):
            return
        content = io.BytesIO()
        np.save(content, np.asarray(event.verdict.anomaly_map, np.float32), allow_pickle=False)
        source = Path(event.origin.name)
        folder = self._folder / file_name(source.parent.parent.name) / file_name(source.parent.name)
        self._names.make(
            folder, file_name(source.stem) or "image", ".npy", lambda path: write_new_file(path, content.getvalue())
        )


class NewNames:
    """Gives files names that are free: `stem.png`, `stem_2.png`, ...; the latest are remembered, to be quick."""

    KEPT = 4096

    def __init__(self) -> None:
        self._last: dict[Path, int] = {}

    def make(self, folder: Path, stem: str, suffix: str, make: Callable[[Path], bool]) -> Path:
        """The path that `make` made a new file at; it says False where there is one already."""
        key = folder / stem
        number = self._last.pop(key, 0) + 1
        while not make(path := folder / f"{stem}{'' if number == 1 else f'_{number}'}{suffix}"):
            number += 1
        self._last[key] = number
        if len(self._last) > self.KEPT:
            del self._last[next(iter(self._last))]
        return path


def output_sinks(folder: Path) -> tuple[Sink, ...]:
    """What the output folder of a run holds: overlays, a table, and JSON lines; a row says where its overlay is.

    A verdict counts as kept once its JSON line is there, which is written last: where a kill left a row of the table
    without it, that row is taken off.
    """
    _cut_unfinished(folder / TABLE, folder / VERDICTS)
    return OverlaySink(folder / OVERLAYS), CsvSink(folder / TABLE), JsonLinesSink(folder / VERDICTS)


class _LineFile:
    """A text file that only grows by whole lines, each handed to the system as soon as it is written.

    What stands behind the last line break is kept where `is_whole`, taken off where `is_torn`, and else a reason to
    leave the file alone.
    """

    def __init__(
        self, path: Path, is_whole: Callable[[bytes], bool], is_torn: Callable[[bytes], bool], header: str = ""
    ) -> None:
        self.path = path
        self._is_whole, self._is_torn, self._header = is_whole, is_torn, header
        self._number: int | None = None

    def open(self) -> None:
        make_folder(self.path.parent)
        try:
            self._number = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
            with in_turn(self._number), open(self._number, "rb", closefd=False) as file:
                self._mend(file)
                file.seek(0)
                first = file.readline(1 << 20).decode("utf-8", errors="replace").rstrip("\r\n")
                if self._header and not first:
                    first = self._header
                    self._put(first.encode() + b"\n")
        except OSError as error:
            self.close()
            raise self._fault(error) from error
        except OutputError:
            self.close()
            raise
        header = self._header.removeprefix(BYTE_ORDER_MARK)
        if (
            first.removeprefix(BYTE_ORDER_MARK) != header
            if self._header
            else first and not self._is_torn(first.encode())
        ):
            self.close()
            kind = "a table with other columns" if self._header else "something else"
            raise OutputError(f"{self.path}: already holds {kind} ({first[:60]}); choose another file")

    def append(self, line: str) -> None:
        if self._number is None:
            raise ValueError("the sink is not open: use it in a `with` block")
        is_gone = not self._is_there()
        if is_gone:
            self.close()
            self.open()
        self._write(line.encode("utf-8") + b"\n")
        if is_gone:
            raise OutputError(
                f"{self.path}: was removed or renamed while verdicts were written to it; it was made again and holds "
                "the verdicts from here on"
            )

    def close(self) -> None:
        if self._number is not None:
            number, self._number = self._number, None
            try:
                with contextlib.suppress(OSError):  # a place that cannot do it keeps the rows all the same
                    os.fsync(number)
                os.close(number)
            except OSError as error:
                raise self._fault(error) from error

    def _write(self, content: bytes) -> None:
        """Writes all of it, or nothing; in turn with other runs, which may be mending the end of the file."""
        assert self._number is not None
        with in_turn(self._number):
            self._put(content)

    def _put(self, content: bytes) -> None:
        assert self._number is not None
        start, done = os.fstat(self._number).st_size, 0
        try:
            while done < len(content):
                done += os.write(self._number, content[done:])
        except OSError as error:
            if done and os.fstat(self._number).st_size == start + done:  # else another run has written behind it
                os.ftruncate(self._number, start)
            raise self._fault(error) from error

    def _is_there(self) -> bool:
        assert self._number is not None
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._number))
        except OSError:
            return False

    def _mend(self, file: BinaryIO) -> None:
        assert self._number is not None
        end = _end_of_lines(file)
        file.seek(end)
        rest = file.read()
        if not rest:
            return
        if self._is_whole(rest):
            self._put(b"\n")
        elif end or self._is_torn(rest):
            os.ftruncate(self._number, end)
        else:
            shown = rest[:60].decode("utf-8", errors="replace")
            raise OutputError(f"{self.path}: already holds something else ({shown}); choose another file")

    def _fault(self, error: OSError) -> OutputError:
        cause = (error.strerror or str(error)).lower()
        return OutputError(f"{self.path}: cannot be written ({cause}); verdicts given before are kept")


def last_rows(path: Path, count: int) -> list[bytes]:
    """The last whole lines of a file, at most so many; none where it cannot be read."""
    rows: list[bytes] = []
    try:
        with path.open("rb") as file:
            end = _end_of_lines(file)
            while end > 0 and len(rows) < count:
                start = _end_of_lines(file, end - 1)
                file.seek(start)
                rows.insert(0, file.read(end - start))
                end = start
    except OSError:
        return []
    return rows


def _end_of_lines(file: BinaryIO, before: int | None = None) -> int:
    """The position just behind the last line break, of those before a position where one is given."""
    end = file.seek(0, os.SEEK_END) if before is None else before
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _cut_unfinished(table: Path, lines: Path) -> None:
    """Takes off the last row of the table where the JSON lines end with the row before it."""
    if not _is_unfinished(table, lines):
        return
    with contextlib.suppress(OSError):
        time.sleep(max(0.0, min(table.stat().st_mtime + UNFINISHED_SECONDS - time.time(), UNFINISHED_SECONDS)))
        if _is_unfinished(table, lines):  # else another run was just between the two
            with table.open("r+b") as file:
                file.truncate(_end_of_lines(file, _end_of_lines(file) - 1))


def _is_unfinished(table: Path, lines: Path) -> bool:
    rows = [_cells(row.decode("utf-8", errors="replace")) for row in last_rows(table, 2)]
    if len(rows) < 2 or len(rows[1]) != len(CSV_COLUMNS):
        return False
    kept = last_rows(lines, 1)
    if not kept:
        return lines.exists() and rows[0] == list(CSV_COLUMNS)
    mark = _mark(kept[0])
    return mark == rows[0][:2] != rows[1][:2]


def _mark(line: bytes) -> list[str]:
    """Path and time of a JSON line as the table has them."""
    try:
        row = json.loads(line)
        return [_cell(row["path"]), _cell(_local_time(row["time"]))]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def _is_json_row(rest: bytes) -> bool:
    try:
        return isinstance(json.loads(rest), dict)
    except (ValueError, RecursionError):
        return False


def _cells(row: str) -> list[str]:
    """The cells of a row, none where it is no row of a table."""
    try:
        return next(csv.reader([row.removeprefix(BYTE_ORDER_MARK)]), [])
    except csv.Error:  # a damaged file may hold what no cell can be so long
        return []


def _is_csv_row(rest: bytes) -> bool:
    """Whether a row is whole: its last cell, the bundle's id, has its full length."""
    cells = _cells(rest.decode("utf-8", errors="replace"))
    return tuple(cells) == CSV_COLUMNS or (
        len(cells) == len(CSV_COLUMNS) and re.fullmatch(r"[0-9a-f]{16}", cells[-1]) is not None
    )


def _is_torn_csv(rest: bytes) -> bool:
    return any(header.encode().startswith(rest) for header in (_HEADER, _HEADER.removeprefix(BYTE_ORDER_MARK)))


def _table_cells(row: Mapping[str, Any]) -> dict[str, str]:
    """The cells of a row as a table has them."""
    cells = {**row, "time": _local_time(row["time"]), "reasons": "; ".join(row.get("reasons", ()))}
    for region in row.get("regions", ())[:1]:
        sides = zip(("x", "y", "width", "height"), region["box"], strict=True)
        cells |= {f"region_{name}": value for name, value in (*sides, *region.items())}
    for name, digits in _DECIMALS.items():
        if isinstance(value := cells.get(name), float):
            cells[name] = round(value, digits)
    return {name: _cell(cells.get(name)) for name in CSV_COLUMNS}


def _local_time(text: str | None) -> str | None:
    """A time of a row as spreadsheet programs read it: of this place, to the millisecond."""
    if text is None:
        return None
    time = datetime.fromisoformat(text).astimezone()
    return f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return table_cell(value) if isinstance(value, str) else str(_short(value))


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _place(path: Path | None, folder: Path | None) -> str | None:
    """A path as rows name it: from the folder on where it lies in it, with forward slashes."""
    if path is None:
        return None
    if folder is not None and path.is_relative_to(folder):
        path = path.relative_to(folder)
    return readable(path.as_posix())


def file_name(name: str) -> str:
    """A name that every file system takes, with room for a number and a suffix."""
    return cut_name(re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", readable(name)), 200).strip(" .")
