"""The numbers of a study as tables: per category, averaged over categories, beside the trivial rules."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from blemish.reports import words
from blemish.text import one_line, table_cell

Kind = Literal["metric", "rate", "seconds", "milliseconds", "megabytes"]


@dataclass(frozen=True)
class Column:
    """A number of a study: its JSON name, its heading, how it is shown and which way is better."""

    name: str
    title: str
    kind: Kind
    is_higher_better: bool = True

    def show(self, value: float | None) -> str:
        """The number as tables show it."""
        if value is None or not math.isfinite(value):
            return "–"
        if self.kind == "metric":
            return words.metric(value)
        if self.kind == "rate":
            return words.rate(value)
        if self.kind == "seconds":
            return words.seconds(value)
        return f"{value:.0f}" if value >= 100 else f"{value:.3g}"

    def show_limits(self, low: float, high: float) -> str:
        """An interval as tables show it, the unit once."""
        first, last = self.show(low), self.show(high)
        return f"{first.removesuffix(PERCENT)} to {last}"


PERCENT = "\u00a0%"

COLUMNS = (
    Column("escape_rate", "Escape rate", "rate", is_higher_better=False),
    Column("false_reject_rate", "False reject rate", "rate", is_higher_better=False),
    Column("image_auroc", "Image AUROC", "metric"),
    Column("aupro_30", "AUPRO 0.30", "metric"),
    Column("pixel_ap", "Pixel AP", "metric"),
    Column("balanced_accuracy", "Balanced accuracy", "rate"),
    Column("accuracy", "Accuracy", "rate"),
    Column("fit_seconds", "Fit", "seconds", is_higher_better=False),
    Column("milliseconds", "Inspection, ms", "milliseconds", is_higher_better=False),
    Column("bundle_megabytes", "Size, MB", "megabytes", is_higher_better=False),
)

TRIVIAL = ("accept all", "reject all")
"""Rules that look at nothing: what any detector has to beat."""


@dataclass(frozen=True)
class Cell:
    """A mean over seeds (and categories) with its 95 % interval where each part of it has one.

    `spread` holds the least and the largest value of several seeds.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    spread: tuple[float, float] | None = None

    @property
    def limits(self) -> tuple[float, float] | None:
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True)
class Line:
    """A detector (or trivial rule) with a cell for each of `COLUMNS`."""

    name: str
    cells: Mapping[str, Cell]
    num_seeds: int = 1
    num_categories: int = 1

    @property
    def is_trivial(self) -> bool:
        return self.name in TRIVIAL


@dataclass(frozen=True)
class Table:
    """The lines of one category, or of the average over all; `missing` names detectors without a result in some."""

    name: str
    lines: tuple[Line, ...]
    num_good: int
    num_defective: int
    missing: tuple[str, ...] = ()

    def best(self, column: Column) -> float | None:
        """The best value of a column among the detectors."""
        values = [line.cells[column.name].value for line in self.lines if not line.is_trivial]
        known = [value for value in values if value is not None]
        return None if not known else max(known) if column.is_higher_better else min(known)


def category_tables(rows: Sequence[Mapping[str, Any]]) -> tuple[Table, ...]:
    """A table for each category in the order they come, detectors by escape rate, the trivial rules last."""
    tables = []
    detectors = detectors_of(rows)
    for category in dict.fromkeys(row["category"] for row in rows):
        of_category = [row for row in rows if row["category"] == category]
        lines = []
        for detector in detectors:
            seeds = [row for row in of_category if row["detector"] == detector]
            if seeds:
                cells = {column.name: _over_seeds(seeds, column) for column in COLUMNS}
                lines.append(Line(detector, cells, num_seeds=len(seeds)))
        lines.sort(key=_by_escapes)
        num_good, num_defective = int(of_category[0]["num_good"]), int(of_category[0]["num_defective"])
        lines.extend(_trivial_line(name, num_good, num_defective) for name in TRIVIAL)
        found = {line.name for line in lines}
        missing = tuple(detector for detector in detectors if detector not in found)
        tables.append(Table(category, tuple(lines), num_good, num_defective, missing))
    return tuple(tables)


def average_table(tables: Sequence[Table]) -> Table:
    """The mean over categories, of detectors that have a result in each of them.

    Categories count alike. The intervals take the categories as given and their errors as independent.
    """
    names = dict.fromkeys(line.name for table in tables for line in table.lines)
    lines, missing = [], []
    for name in names:
        found = [line for table in tables for line in table.lines if line.name == name]
        if len(found) < len(tables):
            missing.append(name)
            continue
        cells = {column.name: _over_categories([line.cells[column.name] for line in found]) for column in COLUMNS}
        seeds = min(line.num_seeds for line in found)
        lines.append(Line(name, cells, num_seeds=seeds, num_categories=len(found)))
    lines.sort(key=lambda line: (line.is_trivial, *((0.0, 0.0) if line.is_trivial else _by_escapes(line))))
    num_good = sum(table.num_good for table in tables)
    num_defective = sum(table.num_defective for table in tables)
    return Table("average", tuple(lines), num_good, num_defective, tuple(missing))


def detectors_of(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The detectors in the order they come."""
    return tuple(dict.fromkeys(row["detector"] for row in rows))


def rows_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each detector, category and seed, each metric with its limits."""
    names = [name for column in COLUMNS for name in (column.name, f"{column.name}_low", f"{column.name}_high")]
    return _csv(["category", "detector", "seed", "num_good", "num_defective", *names], [row_cells(row) for row in rows])


def row_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """The cells of a row: names, counts, and each metric with its limits where it has some."""
    cells = {name: row[name] for name in ("category", "detector", "seed", "num_good", "num_defective")}
    for column in COLUMNS:
        cells |= _csv_cells(column, _cell(row, column))
    return cells


def table_csv(tables: Sequence[Table]) -> str:
    """A line for each detector and trivial rule of each table, the name of the table in front."""
    names = [name for column in COLUMNS for name in (column.name, f"{column.name}_low", f"{column.name}_high")]
    lines = []
    for table in tables:
        for line in table.lines:
            cells = {"category": table.name, "detector": line.name, "num_seeds": line.num_seeds}
            for column in COLUMNS:
                cells |= _csv_cells(column, line.cells[column.name])
            lines.append(cells)
    return _csv(["category", "detector", "num_seeds", *names], lines)


def table_json(table: Table) -> dict[str, Any]:
    """The table as plain values: for each line, value and limits of each column."""
    return {
        "name": table.name,
        "num_good": table.num_good,
        "num_defective": table.num_defective,
        "missing": list(table.missing),
        "lines": [
            {
                "name": line.name,
                "is_trivial": line.is_trivial,
                "num_seeds": line.num_seeds,
                **{column.name: line.cells[column.name].value for column in COLUMNS},
                "intervals": {
                    column.name: list(limits)
                    for column in COLUMNS
                    if (limits := line.cells[column.name].limits) is not None
                },
            }
            for line in table.lines
        ],
    }


def latex_table(table: Table, caption: str) -> str:
    r"""The table in LaTeX (needs `booktabs`), the best of each column bold, limits small beneath.

    >>> print(latex_table(Table("tiles", (), 3, 4), "On tiles").splitlines()[2])
    \caption{On tiles}
    """
    heads = " & ".join(_latex(column.title) for column in COLUMNS)
    lines = [
        r"\begin{table}",
        r"\centering\footnotesize",
        rf"\caption{{{_latex(caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * len(COLUMNS)}}}",
        r"\toprule",
        rf"Detector & {heads} \\",
        r"\midrule",
    ]
    was_trivial = False
    for line in table.lines:
        if line.is_trivial and not was_trivial:
            lines.append(r"\midrule")
            was_trivial = True
        cells = [line.cells[column.name] for column in COLUMNS]
        values = []
        for column, cell in zip(COLUMNS, cells, strict=True):
            text = _latex(column.show(cell.value))
            is_best = cell.value is not None and not line.is_trivial and cell.value == table.best(column)
            values.append(rf"\textbf{{{text}}}" if is_best else text)
        lines.append(rf"{_latex(line.name)} & {' & '.join(values)} \\")
        if any(cell.limits for cell in cells):
            limits = [
                rf"{{\tiny {_latex(column.show_limits(*cell.limits))}}}" if cell.limits else ""
                for column, cell in zip(COLUMNS, cells, strict=True)
            ]
            lines.append(rf" & {' & '.join(limits)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _cell(row: Mapping[str, Any], column: Column) -> Cell:
    if column.name == "bundle_megabytes":
        size = row.get("bundle_bytes")
        return Cell(None if size is None else size / 1e6)
    value = row.get(column.name)
    low, high = row.get("intervals", {}).get(column.name) or (None, None)
    return Cell(None if value is None else float(value), low, high)


def _over_seeds(rows: Sequence[Mapping[str, Any]], column: Column) -> Cell:
    """The mean over seeds, its limits the mean limits: all seeds share the test images, so these don't shrink."""
    cells = [_cell(row, column) for row in rows]
    if any(cell.value is None for cell in cells):
        return Cell(None)
    values = [cell.value for cell in cells if cell.value is not None]
    value = float(np.mean(values))
    spread = (min(values), max(values)) if len(values) > 1 else None
    limits = [cell.limits for cell in cells if cell.limits is not None]
    if len(limits) < len(cells):
        return Cell(value, spread=spread)
    low, high = np.mean(limits, axis=0)
    return Cell(value, float(low), float(high), spread)


def _over_categories(cells: Sequence[Cell]) -> Cell:
    if len(cells) == 1:
        return cells[0]
    if any(cell.value is None for cell in cells):
        return Cell(None)
    values = np.array([cell.value for cell in cells], dtype=np.float64)
    mean = float(values.mean())
    if any(cell.limits is None for cell in cells):
        return Cell(mean)
    lows, highs = np.array([cell.limits for cell in cells], dtype=np.float64).T
    # Independent errors add in quadrature, each side by itself since the intervals lean.
    down = float(np.sqrt(((values - lows) ** 2).sum())) / len(cells)
    up = float(np.sqrt(((highs - values) ** 2).sum())) / len(cells)
    return Cell(mean, mean - down, mean + up)


def _trivial_line(name: str, num_good: int, num_defective: int) -> Line:
    rejects = name == "reject all"
    total = num_good + num_defective
    known = {
        "image_auroc": 0.5,
        "accuracy": (num_defective if rejects else num_good) / total,
        "balanced_accuracy": 0.5,
        "false_reject_rate": 1.0 if rejects else 0.0,
        "escape_rate": 0.0 if rejects else 1.0,
    }
    return Line(name, {column.name: Cell(known.get(column.name)) for column in COLUMNS})


def _by_escapes(line: Line) -> tuple[float, float]:
    """The order of lines: fewest escapes first, then the larger image AUROC; what is not known comes last."""
    escapes, auroc = line.cells["escape_rate"].value, line.cells["image_auroc"].value
    return 2.0 if escapes is None else escapes, 0.0 if auroc is None else -auroc


def _csv_cells(column: Column, cell: Cell) -> dict[str, float | None]:
    return {column.name: cell.value, f"{column.name}_low": cell.low, f"{column.name}_high": cell.high}


def _csv(names: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: table_cell(value) if isinstance(value, str) else value for name, value in line.items()} for line in lines
    )
    return text.getvalue()


def _latex(text: str) -> str:
    escaped = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "–": "--",
        "\u00a0": "~",
    }
    return "".join(escaped.get(letter, f"\\{letter}" if letter in "&%$#_{}" else letter) for letter in one_line(text))
