"""The table of verdicts in Parquet: its columns, its rows, its bytes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from blemish.line.parquet import REGION
from blemish.schema import Verdict

SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        ("decision", pa.string()),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("p_value", pa.float64()),
        ("display_score", pa.float64()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("regions", pa.list_(REGION)),
        ("reasons", pa.list_(pa.string())),
        pa.field("bundle_id", pa.string(), nullable=False),
        ("error", pa.string()),
    ]
)
"""One row an image. `error` is null where there is a verdict; else it says why there is none, and the rest is null."""


def verdict_row(verdict: Verdict) -> dict[str, Any]:
    """A verdict as a row. How long it took is left out: the same images give the same bytes."""
    row = verdict.to_dict()
    del row["milliseconds"]
    height, width = verdict.image_hw
    return {**row, "height": height, "width": width, "error": None}


def error_row(path: str, bundle_id: str, error: str) -> dict[str, Any]:
    """The row of an image that has no verdict."""
    return {"path": path, "bundle_id": bundle_id, "error": error}


def table_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The rows as one Parquet file; the same rows give the same bytes."""
    return _bytes(pa.Table.from_pylist(list(rows), SCHEMA))


def read_paths(path: str, filesystem: Any) -> list[str]:
    """The images that a Parquet file has rows of. Raises OSError or ArrowInvalid where it is not such a file."""
    names = pq.read_table(path, columns=["path"], filesystem=filesystem, partitioning=None)["path"].to_pylist()
    return [str(name) for name in names]


def without_paths(path: str, filesystem: Any, names: Collection[str]) -> bytes:
    """A Parquet file without the rows of these images; empty where none is left."""
    table = pq.read_table(path, filesystem=filesystem, partitioning=None)
    kept = table.filter(pc.invert(pc.is_in(table["path"], value_set=pa.array(list(names), pa.string()))))
    return _bytes(kept) if kept.num_rows else b""


def _bytes(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    return bytes(buffer.getvalue())
