"""A study of several detectors -> one page, a page on each category's data, and tables as CSV, JSON and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blemish.outputs.describe import CategorySummary
from blemish.schema import GOOD, Image, ImageItem, Mask, Verdict


@dataclass(frozen=True)
class ComparedPart:
    """One test image under each detector: `verdicts` and color `scales` (see `overlay.map_scale`) by detector."""

    category: str
    item: ImageItem
    image: Image = field(repr=False)
    mask: Mask | None = field(repr=False)
    verdicts: Mapping[str, Verdict] = field(repr=False)
    scales: Mapping[str, tuple[float, float]] = field(repr=False)


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
    name: str = "Study"


def choose_parts(items: Sequence[ImageItem], *, num_good: int = 2, num_per_type: int = 2, most: int = 12) -> list[int]:
    """Places of the test images to show under each detector: some good ones, then some of each type of defect.

    They are spread evenly over the images in the order of their paths, whatever any detector makes of them.
    """
    types: dict[str, list[int]] = {}
    for place in sorted(range(len(items)), key=lambda place: str(items[place].path)):
        types.setdefault(items[place].defect_type if items[place].label != GOOD else "", []).append(place)
    defects = [types[name] for name in sorted(types) if name]
    share = max(1, min(num_per_type, (most - num_good) // max(len(defects), 1)))
    chosen = _spread(types.get("", []), num_good)
    for places in defects:
        chosen.extend(_spread(places, share))
    return chosen[:most]


def _spread(places: Sequence[int], count: int) -> list[int]:
    if len(places) <= count:
        return list(places)
    return [places[round(step)] for step in np.linspace(0, len(places) - 1, count + 2)[1:-1]]


def write_study(study: Study, folder: Path) -> Path:
    """The page `index.html`, written into `folder` with the tables beside it.

    Beside it lie `study.csv` (a line per row), `averages.csv`, `study.json` and `tables.tex`, and `data-<category>.html`
    for each summary.
    """
    raise NotImplementedError
