"""Detectors compared in one call from Python, and the table that comes of it."""

from __future__ import annotations

import html
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blemish.datasets.index import DatasetIndex
from blemish.errors import SettingsError, TrainingError
from blemish.files import write_file
from blemish.registry import DEFAULT_BACKBONE
from blemish.schema import Device, Progress, silent
from blemish.study.executor import LocalExecutor
from blemish.study.pages import write_study
from blemish.study.plan import plan_study
from blemish.study.run import describe_data, make_study, run_study
from blemish.study.tables import COLUMNS, row_cells, rows_csv


@dataclass(frozen=True, repr=False)
class Comparison:
    """A table with one row for each detector, category and seed; rates from 0 to 1, times in seconds or milliseconds.

    Columns are `category`, `detector`, `seed`, counts, and each metric with `_low` and `_high`, its 95 % interval.
    `page` is the study's page, with bundles and results beside it; `failures` are sentences.

    >>> table = Comparison(({"category": "bottle", "detector": "padim", "seed": 0, "image_auroc": 0.9},), (), Path("x"))
    >>> table
    Comparison(1 row, 0 failures, page x)
    >>> table["image_auroc"], len(table)
    ([0.9], 1)
    """

    rows: tuple[Mapping[str, Any], ...]
    failures: tuple[str, ...]
    page: Path
    sources: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in their order."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row))

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.rows)

    def __getitem__(self, column: str) -> list[Any]:
        """The values of a column, None where a row has none."""
        if column not in self.columns:
            raise SettingsError(f"no column is called '{column}'; there are {', '.join(self.columns)}")
        return [row.get(column) for row in self.rows]

    def to_pandas(self) -> Any:
        """The table as a pandas DataFrame. Raises SettingsError where pandas is not installed."""
        return _module("pandas").DataFrame([dict(row) for row in self.rows], columns=list(self.columns))

    def to_polars(self) -> Any:
        """The table as a polars DataFrame. Raises SettingsError where polars is not installed."""
        return _module("polars").DataFrame({name: self[name] for name in self.columns})

    def to_csv(self, path: str | Path) -> Path:
        """`path`, now holding the table as CSV."""
        return write_file(Path(path), rows_csv(self.sources).encode("utf-8"))

    def __repr__(self) -> str:
        count = len(self.rows)
        return f"Comparison({count} row{'s' if count != 1 else ''}, {len(self.failures)} failures, page {self.page})"

    def _repr_html_(self) -> str:
        shown = [column for column in COLUMNS if column.name in self.columns]
        head = "".join(f"<th>{html.escape(title)}</th>" for title in ("", "", *(column.title for column in shown)))
        lines = []
        for row in self.rows:
            cells = "".join(f"<td>{html.escape(column.show(row.get(column.name)))}</td>" for column in shown)
            names = "".join(f"<th>{html.escape(str(row[name]))}</th>" for name in ("category", "detector"))
            lines.append(f"<tr>{names}{cells}</tr>")
        failures = "".join(f"<p>{html.escape(failure)}</p>" for failure in self.failures)
        return f"<table><tr>{head}</tr>{''.join(lines)}</table>{failures}"


def compare(
    data: str | Path | DatasetIndex | Sequence[str | Path],
    detectors: Sequence[str] | str,
    *,
    output: str | Path = "study",
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    seeds: int | Sequence[int] = 1,
    size: int = 256,
    backbone: str = DEFAULT_BACKBONE,
    workers: int = 1,
    threads: int = 0,
    device: Device = "auto",
    progress: Progress = silent,
) -> Comparison:
    """Several detectors fitted and judged on several labelled data sets; what is in `output` already is not done again.

    `data` is a data set or a folder of several, or a list of these. `settings` are those of detectors by name. `seeds`
    is a number of seeds from 0 on, or the seeds. `size` is the shorter side of the input in pixels. `workers` are
    processes that fit at once (more than one needs a script that can be imported, as `multiprocessing` does). A
    detector that fails is told in `failures`. Raises TrainingError where all fail.

    >>> import tempfile
    >>> from blemish.testing.tiny import make_tiny_product, write_tiny_product
    >>> place = Path(tempfile.mkdtemp())
    >>> data = write_tiny_product(place / "part", make_tiny_product())
    >>> table = compare(data, "template", size=64, output=place / "study")
    >>> table["detector"], 0 <= table["escape_rate"][0] <= 1
    (['template'], True)
    """
    if isinstance(data, DatasetIndex):
        places = [data.root]
    else:
        places = [Path(data)] if isinstance(data, (str, Path)) else [Path(place) for place in data]
    tasks = plan_study(
        places,
        [detectors] if isinstance(detectors, str) else list(detectors),
        Path(output),
        settings=settings,
        seeds=range(seeds) if isinstance(seeds, int) else seeds,
        size=size,
        backbone=backbone,
        device=device,
    )
    summaries = describe_data(tasks, progress)
    outcome = run_study(tasks, LocalExecutor(workers, threads), progress)
    failures = tuple(f"{task.detector} on {task.data.name}: {error}" for task, error in outcome.failures)
    if not outcome.rows:
        raise TrainingError(f"no detector could be fitted: {'; '.join(failures)}")
    page = write_study(make_study(tasks, outcome, summaries, progress), Path(output))
    return Comparison(tuple(row_cells(row) for row in outcome.rows), failures, page, outcome.rows)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise SettingsError(f"{name} is not installed: pip install {name}; or use to_csv") from None
