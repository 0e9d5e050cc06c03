"""Places verdicts are written to: JSON lines, a table, a folder of overlays.

A sink is a context manager with one verb, `write`. A verdict that `write` has taken is handed to the system before
the next one comes: a kill in the middle of a lot loses none that was given before.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol

from blemish.errors import OutputError
from blemish.files import make_folder
from blemish.inspection.overlay import draw_overlay, write_png
from blemish.schema import Image, Region, Verdict
from blemish.text import cut_name, json_text, readable, table_cell

CSV_COLUMNS = (
    "path",
    "decision",
    "score",
    "threshold",
    "p_value",
    "display_score",
    "num_regions",
    "regions",
    "milliseconds",
    "bundle_id",
    "reasons",
)


class Sink(Protocol):
    """What takes verdicts: entered once, written to once for each verdict, left once."""

    def __enter__(self) -> Sink: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, verdict: Verdict, image: Image | None = None) -> None:
        """Keeps one verdict; `image` is the inspected image, needed where pictures are drawn."""


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict as flat JSON names and plain values; the anomaly map stays out.

    Numbers that are not finite become None, since JSON knows none; so is a `_mm` value without a known scale.
    """
    return {
        "path": readable(verdict.path),
        "decision": verdict.decision,
        "score": _number(verdict.score),
        "threshold": _number(verdict.threshold),
        "p_value": _number(verdict.p_value),
        "display_score": _number(verdict.display_score),
        "regions": [_region_json(region) for region in verdict.regions],
        "milliseconds": _number(verdict.milliseconds),
        "bundle_id": verdict.bundle_id,
        "reasons": list(verdict.reasons),
    }


class JsonLinesSink:
    """One JSON object a line, appended to `path`; a line torn by an earlier kill is taken off first."""

    def __init__(self, path: Path) -> None:
        self._lines = _LineFile(Path(path))

    def __enter__(self) -> JsonLinesSink:
        self._lines.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()

    def write(self, verdict: Verdict, image: Image | None = None) -> None:
        self._lines.append(json_text(verdict_json(verdict)))


class CsvSink:
    """One row a verdict, appended to `path` under a header; the regions are one JSON cell."""

    def __init__(self, path: Path) -> None:
        self._lines = _LineFile(Path(path))

    def __enter__(self) -> CsvSink:
        first = self._lines.open()
        header = ",".join(CSV_COLUMNS)
        if first is None:
            self._lines.append(header)
        elif first != header:
            self._lines.close()
            raise OutputError(
                f"{self._lines.path}: already holds a table with other columns ({first[:60]}); choose another file"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()

    def write(self, verdict: Verdict, image: Image | None = None) -> None:
        row = verdict_json(verdict)
        row["num_regions"] = len(verdict.regions)
        row["regions"] = json_text(row["regions"])
        row["reasons"] = "; ".join(verdict.reasons)
        row |= {name: table_cell(row[name]) for name in ("path", "bundle_id", "reasons")}
        text = io.StringIO()
        csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n").writerow(row)
        self._lines.append(text.getvalue()[:-1])


class OverlaySink:
    """A PNG a verdict in `folder`, as `<folder of the image>/<stem>.png`; see `draw_overlay` for `scale`.

    Two images of one run never share a file: the second of one name gets `_2`.
    """

    def __init__(self, folder: Path, scale: tuple[float, float]) -> None:
        self._folder = Path(folder)
        self._scale = scale
        self._taken: dict[str, str] = {}

    def __enter__(self) -> OverlaySink:
        make_folder(self._folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._taken.clear()

    def write(self, verdict: Verdict, image: Image | None = None) -> None:
        if image is None:
            raise OutputError(f"{verdict.path}: an overlay needs the image beside the verdict")
        write_png(self.path_of(verdict.path), draw_overlay(image, verdict, self._scale))

    def path_of(self, path: str) -> Path:
        """Where the overlay of the image at `path` lies; settled when it is first asked for."""
        source = Path(path)
        parent, stem = _file_name(source.parent.name), _file_name(source.stem) or "image"
        number = 1
        while True:
            relative = Path(parent, f"{stem}.png" if number == 1 else f"{stem}_{number}.png")
            # Compared without case: some file systems keep one file for both.
            if self._taken.setdefault(str(relative).casefold(), path) == path:
                return self._folder / relative
            number += 1


class _LineFile:
    """A text file that only grows by whole lines, each handed to the system as soon as it is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None

    def open(self) -> str | None:
        """The file's first line, None where it holds none."""
        make_folder(self.path.parent)
        try:
            self._file = self.path.open("a+b")
            self._file.seek(0)
            first = self._file.readline()
            if not first.endswith(b"\n"):
                self._file.truncate(0)
                return None
            self._file.truncate(_end_of_lines(self._file))
        except OSError as error:
            self.close()
            raise self._fault(error) from error
        return first.decode("utf-8", errors="replace").rstrip("\r\n")

    def append(self, line: str) -> None:
        if self._file is None:
            raise ValueError("the sink is not open: use it in a `with` block")
        try:
            self._file.write(line.encode("utf-8") + b"\n")
            self._file.flush()
        except OSError as error:
            raise self._fault(error) from error

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            try:
                file.close()
            except OSError as error:  # lines that were held back
                raise self._fault(error) from error

    def _fault(self, error: OSError) -> OutputError:
        cause = (error.strerror or str(error)).lower()
        return OutputError(f"{self.path}: cannot be written ({cause}); verdicts given before are kept")


def _end_of_lines(file: BinaryIO) -> int:
    """The position just behind the last line break."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _region_json(region: Region) -> dict[str, Any]:
    return {
        "box": [int(value) for value in region.box],
        "contour": [[int(x), int(y)] for x, y in region.contour],
        "area_px": _number(region.area_px),
        "centroid": [_number(value) for value in region.centroid],
        "peak": [int(value) for value in region.peak],
        "peak_score": _number(region.peak_score),
        "mean_score": _number(region.mean_score),
        "length_px": _number(region.length_px),
        "area_mm2": _number(region.area_mm2),
        "length_mm": _number(region.length_mm),
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _file_name(name: str) -> str:
    """A name that every file system takes, with room for a number and a suffix."""
    return cut_name(re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", readable(name)), 200).strip(" .")
