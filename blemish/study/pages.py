"""A study of several detectors -> one page, a page on each category's data, and tables as CSV, JSON and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from blemish.datasets.describe import TEXTURES, CategorySummary, TypeSummary
from blemish.errors import OutputError
from blemish.files import write_text
from blemish.reports import words
from blemish.reports.charts import Axis, Histogram, axis_of, histogram, log_axis
from blemish.reports.gallery import ComparedPart, mask_outline, photo_uri
from blemish.reports.page import render
from blemish.schema import GOOD, ImageItem
from blemish.study.page_parts import (
    histograms_section,
    like_the_best,
    mean_words,
    parts_section,
    ranks_section,
    study_lead,
    trade_off,
    trainings_section,
    trivial_words,
    verdicts_section,
)
from blemish.study.tables import COLUMNS, average_table, category_tables, latex_table, rows_csv, table_csv, table_json
from blemish.text import json_text


@dataclass(frozen=True)
class Study:
    """What a study found.

    Each of `rows` is one detector on one category from one seed: the flat names of an evaluation's JSON (with
    `results`, `model` and `intervals`), and `category`, `detector`, `seed`, `fit_seconds`, `bundle_bytes`. `parts` are
    the same test images under each detector, `summaries` describe the data, `failures` say what could not be done.
    """

    rows: tuple[Mapping[str, Any], ...]
    parts: tuple[ComparedPart, ...] = ()
    summaries: tuple[CategorySummary, ...] = ()
    failures: tuple[str, ...] = ()
    name: str = ""


def choose_parts(items: Sequence[ImageItem], *, num_good: int = 2, num_per_type: int = 2, most: int = 12) -> list[int]:
    """Places of the test images to show under each detector: some good ones, then some of each type of defect.

    They are spread evenly over the images in the order of their paths, whatever any detector makes of them.
    """
    types: dict[str, list[int]] = {}
    for place in sorted(range(len(items)), key=lambda place: str(items[place].path)):
        types.setdefault("" if items[place].label == GOOD else items[place].defect_type, []).append(place)
    defects = [types[name] for name in sorted(types) if name]
    share = max(1, min(num_per_type, (most - num_good) // max(len(defects), 1)))
    chosen = _spread(types.get("", []), num_good)
    for places in defects:
        chosen.extend(_spread(places, share))
    return chosen[:most]


def write_study(study: Study, folder: Path) -> Path:
    """The page `index.html`, written into `folder` with the tables beside it.

    Beside it lie `study.csv` (a line per row), `averages.csv`, `study.json` and `tables.tex`, and for each summary a
    page `data-<category>.html`. Raises OutputError where there is no row to write of.
    """
    if not study.rows:
        raise OutputError(f"{folder}: the study has no result to write; see the failures")
    folder = Path(folder)
    tables = category_tables(study.rows)
    average = average_table(tables)
    pages = {name: path.name for name, path in write_data_pages(study.summaries, folder).items()}
    write_text(folder / "study.csv", rows_csv(study.rows))
    write_text(folder / "averages.csv", table_csv([*tables, average]))
    write_text(folder / "tables.tex", _latex_tables(tables, average))
    content = {
        "name": study.name,
        "failures": list(study.failures),
        "tables": [table_json(table) for table in (*tables, average)],
        "rows": [{name: value for name, value in row.items() if name != "results"} for row in study.rows],
    }
    write_text(folder / "study.json", json_text(content, indent=1))
    return write_text(folder / "index.html", study_page(study, pages))


def write_data_pages(summaries: Sequence[CategorySummary], folder: Path) -> dict[str, Path]:
    """The page `data-<category>.html` in `folder` of each category: something to look at before any training."""
    return {
        summary.name: write_text(Path(folder) / f"data-{_slug(summary.name)}.html", data_page(summary))
        for summary in summaries
    }


def study_page(study: Study, data_pages: Mapping[str, str] | None = None) -> str:
    """The study as HTML text; `data_pages` names the file of each category's data page."""
    tables = category_tables(study.rows)
    average = average_table(tables)
    categories = []
    for number, table in enumerate(tables, start=1):
        rows = [row for row in study.rows if row["category"] == table.name]
        categories.append(
            {
                "id": f"category-{number}",
                "name": table.name,
                "table": table,
                "data_page": (data_pages or {}).get(table.name, ""),
                "marks": [name for name, p_value in like_the_best(rows).items() if p_value > 0.05],
                "verdicts": verdicts_section(rows),
                "histograms": [
                    (
                        "Scores",
                        "Good test images above, defective ones below; the line is the calibrated threshold.",
                        histograms_section(rows, "score"),
                    ),
                    (
                        "Reconstruction errors",
                        "Mean squared error of each test image, pixels from 0 to 1; good above, defective below.",
                        histograms_section(rows, "reconstruction_mse"),
                    ),
                ],
                "parts": parts_section([part for part in study.parts if part.category == table.name]),
                "trainings": trainings_section(rows),
            }
        )
    return render(
        "study.html",
        page={
            "title": study.name or _title([table.name for table in tables]),
            "lead": study_lead(tables, average),
            "trivial": trivial_words(tables),
            "version": metadata.version("blemish"),
            "written": _now(),
        },
        failures=study.failures,
        average=average,
        columns=COLUMNS,
        ranks=ranks_section(tables),
        trade_off=trade_off(average),
        categories=categories,
    )


def data_page(summary: CategorySummary) -> str:
    """What a category's images are like, as HTML text."""
    good = next((found for found in summary.types if found.split == "train"), None)
    sizes = {size for found in summary.types for size in found.sizes}
    fitted = words.plural(good.num_images, "good one") if good else "none"
    alike = "all of one size" if len(sizes) == 1 else f"of {len(sizes):,} sizes"
    lead = f"{words.plural(summary.num_images, 'image')}, {fitted} to fit on, {alike}."
    logarithms = [np.log10(found.areas) for found in summary.types if found.areas]
    area_axis = log_axis(axis_of(np.concatenate(logarithms), margin=0.05, count=4)) if logarithms else None
    return render(
        "data.html",
        summary=summary,
        lead=lead,
        rows=[_data_row(found) for found in summary.types],
        grays=[_gray_chart(found) for found in summary.types],
        texture_names=list(TEXTURES),
        meanings=list(TEXTURES.items()),
        areas=[_area_chart(found, area_axis) for found in summary.types if found.areas and area_axis is not None],
        area_axis=area_axis,
        version=metadata.version("blemish"),
        written=_now(),
    )


def _data_row(found: TypeSummary) -> dict[str, Any]:
    sizes = [f"{width} × {height}" for width, height in found.sizes]
    widths, heights = [width for width, _ in found.sizes], [height for _, height in found.sizes]
    if len(sizes) > 3:
        sizes = [f"{len(sizes)} sizes, {min(widths)} to {max(widths)} × {min(heights)} to {max(heights)}"]
    return {
        "split": found.split,
        "defect_type": found.defect_type,
        "num_images": found.num_images,
        "masks": found.num_masks if found.defect_type != "good" else "",
        "sizes": ", ".join(sizes),
        "mean_gray": mean_words(found.mean_grays),
        "textures": [(name, mean_words(values)) for name, values in found.textures.items()],
        "examples": [
            {
                "photo": photo_uri(image),
                "outline": "" if mask is None else mask_outline(mask),
                "width": image.shape[1],
                "height": image.shape[0],
            }
            for image, mask in found.examples
        ],
    }


def _gray_chart(found: TypeSummary) -> dict[str, Any]:
    x = axis_of([0.0, 256.0])
    counts = tuple(np.rint(found.grays / found.grays.max() * 10_000).astype(int).tolist())
    edges = tuple(np.linspace(0, 256, len(counts) + 1).tolist())
    kind = "basis" if found.split == "train" else "good" if found.defect_type == "good" else "defective"
    return {"name": found.defect_type, "split": found.split, "kind": kind, "path": Histogram(edges, counts).path(x)}


def _area_chart(found: TypeSummary, x: Axis) -> dict[str, Any]:
    areas = np.asarray(found.areas)
    note = f"{words.plural(len(areas), 'region')}, median {words.rate(float(np.median(areas)))} of the image"
    return {"name": found.defect_type, "note": note, "path": histogram(np.log10(areas), x, num_bins=24).path(x)}


def _latex_tables(tables: Sequence[Any], average: Any) -> str:
    parts = ["% Needs \\usepackage{booktabs}. Intervals of 95 \\% beneath the values.\n"]
    parts += [latex_table(table, f"Detectors on {table.name}") for table in tables]
    if len(tables) > 1:
        parts.append(latex_table(average, f"Detectors, averaged over {len(tables)} categories"))
    return "\n".join(parts)


def _spread(places: Sequence[int], count: int) -> list[int]:
    if len(places) <= count:
        return list(places)
    return [places[round(step)] for step in np.linspace(0, len(places) - 1, count + 2)[1:-1]]


def _title(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} categories"


def _slug(name: str) -> str:
    """A name that is a file's everywhere."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)


def _now() -> str:
    return f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC"
