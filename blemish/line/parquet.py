"""Verdicts as Parquet, for notebooks and data platforms: a folder of files, each of many rows."""

from __future__ import annotations

import json
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from blemish.files import locked, make_folder, write_file
from blemish.line.events import Event, Judged, Unreadable
from blemish.line.sinks import JsonLinesSink

ROWS = 10_000
"""Rows of a file."""

REGION = pa.struct(
    [
        ("box", pa.list_(pa.int32())),
        ("contour", pa.list_(pa.list_(pa.int32()))),
        ("area_px", pa.float64()),
        ("centroid", pa.list_(pa.float64())),
        ("peak", pa.list_(pa.int32())),
        ("peak_score", pa.float64()),
        ("mean_score", pa.float64()),
        ("length_px", pa.float64()),
        ("area_mm2", pa.float64()),
        ("length_mm", pa.float64()),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        ("time", pa.timestamp("us", "UTC")),
        ("decision", pa.string()),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("p_value", pa.float64()),
        ("display_score", pa.float64()),
        ("num_regions", pa.int64()),
        ("regions", pa.list_(REGION)),
        ("milliseconds", pa.float64()),
        ("reasons", pa.list_(pa.string())),
        ("error", pa.string()),
        ("overlay", pa.string()),
        ("sorted_to", pa.string()),
        ("part_id", pa.string()),
        ("lot_id", pa.string()),
        pa.field("bundle_id", pa.string(), nullable=False),
    ]
)
"""One row an image. `error` is null where there is a verdict; else it says why there is none, and the rest is null."""


class ParquetSink:
    """Files `part-000001.parquet`, ... in `folder`, of `ROWS` rows each; a later run adds files.

    Until a file is full, its rows lie beside it as JSON lines, `_part-000001.jsonl`, which readers of Parquet pass
    over: a kill loses none, and the next run goes on from them. One run at a time writes to a folder.
    """

    needs_picture = False

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._opened = ExitStack()
        self._number = 0
        self._num_rows = 0
        self._lines: JsonLinesSink | None = None

    def __enter__(self) -> ParquetSink:
        make_folder(self._folder)
        with ExitStack() as stack:
            stack.enter_context(locked(self._folder / "parts", patience_seconds=0))
            self._number = 1 + max((int(path.stem[5:]) for path in self._folder.glob("part-*.parquet")), default=0)
            for path in self._folder.glob("_part-*.jsonl"):
                if path != self._lines_path:  # its file was finished just before a kill
                    path.unlink()
            self._begin()
            self._opened = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._opened:
            if self._num_rows:
                self._finish()
            elif self._lines is not None:
                self._lines.__exit__(None, None, None)
                self._lines_path.unlink(missing_ok=True)
            self._lines = None

    def write(self, event: Event) -> None:
        if not isinstance(event, (Judged, Unreadable)):
            return
        if self._lines is None:
            raise ValueError("the sink is not open: use it in a `with` block")
        self._lines.write(event)
        self._num_rows += 1
        if self._num_rows >= ROWS:
            self._finish()
            self._begin()

    @property
    def _lines_path(self) -> Path:
        return self._folder / f"_part-{self._number:06}.jsonl"

    def _begin(self) -> None:
        self._lines = JsonLinesSink(self._lines_path)
        self._lines.__enter__()
        with self._lines_path.open("rb") as file:
            self._num_rows = sum(1 for _ in file)

    def _finish(self) -> None:
        """Makes a file of the rows so far."""
        assert self._lines is not None
        self._lines.__exit__(None, None, None)
        rows = [json.loads(line) for line in self._lines_path.read_bytes().splitlines()]
        write_file(self._folder / f"part-{self._number:06}.parquet", _table_bytes(rows))
        self._lines_path.unlink()
        self._number += 1
        self._num_rows = 0


def _table_bytes(rows: list[dict[str, Any]]) -> bytes:
    for row in rows:
        row["time"] = None if row["time"] is None else datetime.fromisoformat(row["time"])
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), buffer, compression="zstd")
    return bytes(buffer.getvalue())
