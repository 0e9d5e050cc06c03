"""The parts of a study's page: ranks, charts per detector, right and wrong verdicts, the same parts side by side."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blemish.errors import MetricError
from blemish.metrics.compare import delong
from blemish.metrics.ranks import Ranking, rank_detectors
from blemish.reports import words
from blemish.reports.charts import Axis, axis_of, histogram
from blemish.reports.gallery import ComparedPart, Tile, make_tile
from blemish.reports.training import training_of
from blemish.schema import GOOD, Picture
from blemish.study.tables import Table


def study_lead(tables: Sequence[Table], average: Table) -> list[str]:
    """What was compared, which detector lets the fewest defects escape, and which ranks best, a sentence each."""
    names = {line.name for table in tables for line in table.lines if not line.is_trivial}
    sentences = [f"{words.plural(len(names), 'detector')} on {_categories(len(tables))}."]
    mean = "mean " if len(tables) > 1 else ""
    ranked = [line for line in average.lines if not line.is_trivial and line.cells["escape_rate"].value is not None]
    if ranked:
        least = float(ranked[0].cells["escape_rate"].value or 0.0)
        first = [line for line in ranked if line.cells["escape_rate"].value == least]
        lets = "lets" if len(first) == 1 else "let"
        told = f"{_listed([line.name for line in first])} {lets} the fewest defects escape: {words.rate(least)}"
        spread, rejects = first[0].cells["escape_rate"].spread, first[0].cells["false_reject_rate"].value
        if spread is not None and len(first) == 1:
            told += f" (seeds {words.rate(spread[0])} to {words.rate(spread[1])})"
        if rejects is not None and len(first) == 1:
            told += f", with {words.rate(rejects)} of the good parts rejected"
        if len(ranked) > len(first):
            after = ranked[len(first)]
            told += f"; {after.name} comes next with {words.rate(after.cells['escape_rate'].value)}"
        sentences.append(f"{told}.")
    known = [line for line in average.lines if not line.is_trivial and line.cells["image_auroc"].value is not None]
    if known:
        best = max(float(line.cells["image_auroc"].value or 0.0) for line in known)
        leading = [line.name for line in known if line.cells["image_auroc"].value == best]
        rank = "ranks" if len(leading) == 1 else "rank"
        sentences.append(f"{_listed(leading)} {rank} best, {mean}image AUROC {words.metric(best)}.")
    return sentences


def trivial_words(tables: Sequence[Table]) -> str:
    """What rejecting every part reaches, and why accuracy alone says little."""
    found = [line.cells["accuracy"].value for table in tables for line in table.lines if line.name == "reject all"]
    known = [value for value in found if value is not None]
    low, high = words.rate(min(known)), words.rate(max(known))
    reached = low if low == high else f"{low} to {high}"
    return (
        f"Rejecting every part reaches an accuracy of {reached} on these test images, and a balanced accuracy of "
        "one half: accuracy says something only beside balanced accuracy and the two trivial rules."
    )


def ranks_section(tables: Sequence[Table], metric: str = "image_auroc") -> dict[str, Any] | None:
    """Mean ranks with critical-difference marks; None with fewer than two categories or detectors in all of them."""
    common = [
        line.name
        for line in tables[0].lines
        if not line.is_trivial and all(_value(table, line.name, metric) is not None for table in tables)
    ]
    values = np.array([[_value(table, name, metric) for name in common] for table in tables], dtype=np.float64)
    try:
        ranking = rank_detectors(values)
    except MetricError:
        return None
    order = sorted(range(len(common)), key=lambda place: ranking.mean_ranks[place])
    x = Axis(1.0, float(len(common)), tuple(float(rank) for rank in range(1, len(common) + 1)))
    letters = _letters(ranking, len(common))
    return {
        "x": x,
        "critical_difference": ranking.critical_difference,
        "words": _ranking_words(ranking, len(tables)),
        "rows": [
            {
                "name": common[place],
                "rank": ranking.mean_ranks[place],
                "at": x.percent(ranking.mean_ranks[place]),
                "end": x.percent(ranking.mean_ranks[place] + ranking.critical_difference),
                "letters": letters[place],
            }
            for place in order
        ],
    }


def like_the_best(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The p-value of each detector's image AUROC against the best one's, on the same images of one category.

    Paired (DeLong); of several seeds the first is taken. The best itself and those judged on other images are left out.
    """
    first: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if row.get("results"):
            first.setdefault(row["detector"], row)
    if not first:
        return {}
    best = max(first.values(), key=lambda row: row.get("image_auroc") or 0.0)
    labels = [result["label"] for result in best["results"]]
    paths = [result["path"] for result in best["results"]]
    found = {}
    for name, row in first.items():
        if row is best or [result["path"] for result in row["results"]] != paths:
            continue
        scores = [[result["score"] for result in of["results"]] for of in (best, row)]
        try:
            found[name] = delong(labels, *scores).p_value
        except MetricError:
            return {}
    return found


def verdicts_section(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """For one category: which test images each detector got wrong, images in one order for all; first seeds only."""
    first: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row.get("results"):
            first.setdefault(row["detector"], list(row["results"]))
    if not first:
        return None
    # Detectors that were shown some of the defects are judged on fewer images than the others.
    known = {(result["label"], result["defect_type"], result["path"]) for of in first.values() for result in of}
    order = sorted(known)
    places = {path: place for place, (_, _, path) in enumerate(order)}
    total = len(order)
    wrong_of = {name: [result["path"] for result in results if _is_wrong(result)] for name, results in first.items()}
    segments = Counter("good" if label == GOOD else defect_type for label, defect_type, _ in order)
    always = set.intersection(*(set(paths) for paths in wrong_of.values()))
    return {
        "segments": [{"name": name, "count": count, "share": 100 * count / total} for name, count in segments.items()],
        "rows": [
            {
                "name": name,
                "num_wrong": len(paths),
                "path": "".join(_block(places[path], total) for path in sorted(paths, key=places.__getitem__)),
            }
            for name, paths in wrong_of.items()
        ],
        "total": total,
        "always_wrong": [path for _, _, path in order if path in always] if len(wrong_of) > 1 else [],
    }


def histograms_section(rows: Sequence[Mapping[str, Any]], key: str) -> list[dict[str, Any]]:
    """For each detector of one category: histograms of good and defective test images by a number of each result."""
    charts: list[dict[str, Any]] = []
    for row in rows:
        results = [result for result in row.get("results", ()) if result.get(key) is not None]
        if not results or any(chart["name"] == row["detector"] for chart in charts):
            continue
        threshold = row.get("model", {}).get("image_threshold") if key == "score" else None
        good = [result[key] for result in results if result["label"] == GOOD]
        defective = [result[key] for result in results if result["label"] != GOOD]
        x = axis_of([*good, *defective, *([] if threshold is None else [threshold])], margin=0.03, count=4)
        charts.append(
            {
                "name": row["detector"],
                "x": x,
                "cut": None if threshold is None else x.percent(threshold),
                "panels": [
                    {"kind": kind, "path": _bars(values, x, threshold), "count": len(values)}
                    for kind, values in (("good", good), ("defective", defective))
                    if values
                ],
            }
        )
    return charts


def trainings_section(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The loss curves of each learned detector of one category, first seeds only."""
    found: dict[str, Any] = {}
    for row in rows:
        training = training_of(row.get("model", {}).get("facts") or {})
        if training is not None:
            found.setdefault(row["detector"], training)
    return [{"name": name, "training": training} for name, training in found.items()]


def parts_section(parts: Sequence[ComparedPart]) -> list[dict[str, Any]]:
    """The same parts under each detector: a tile each, and what was decided."""
    shown = []
    for part in parts:
        tiles: list[tuple[str, Tile]] = [
            (name, make_tile(Picture(part.item, verdict, part.image, part.mask), part.scales[name]))
            for name, verdict in part.verdicts.items()
        ]
        if tiles:
            shown.append({"name": tiles[0][1].name, "state": part.item.defect_type, "tiles": tiles, "item": part.item})
    return shown


def trade_off(average: Table) -> dict[str, Any] | None:
    """Escape rate over inspection time, a dot for each detector; None where times are not known."""
    lines = [
        line
        for line in average.lines
        if not line.is_trivial and line.cells["milliseconds"].value and line.cells["escape_rate"].value is not None
    ]
    if len(lines) < 2:
        return None
    times = [math.log10(float(line.cells["milliseconds"].value or 1.0)) for line in lines]
    shares = [100 * float(line.cells["escape_rate"].value or 0.0) for line in lines]
    low, high = min(times) - 0.12, max(times) + 0.12
    ticks = [math.log10(factor * 10.0**power) for power in range(-2, 6) for factor in (1, 2, 5)]
    x = Axis(low, high, tuple(tick for tick in ticks if low <= tick <= high), is_logarithm=True)
    y = axis_of([0.0, max(1.0, *shares) * 1.1], count=5)
    places = [(x.percent(time), 100 - y.percent(share)) for time, share in zip(times, shares, strict=True)]
    labels = spread_labels(places)
    return {
        "x": x,
        "y": y,
        "dots": [
            {"name": line.name, "x": across, "y": down, "label_y": label, "is_right": across > 60}
            for line, (across, down), label in zip(lines, places, labels, strict=True)
        ],
    }


LABEL_PERCENT = 8.0
"""Height of a label by that of its chart."""


def spread_labels(places: Sequence[tuple[float, float]]) -> list[float]:
    """Where the label of each dot goes, in percent from above: at its dot, or below the last where they would overlap.

    >>> spread_labels([(10.0, 50.0), (12.0, 52.0)])
    [50.0, 58.0]
    """
    found = [0.0] * len(places)
    for side in (False, True):
        last = -LABEL_PERCENT
        of_side = sorted((down, number) for number, (across, down) in enumerate(places) if (across > 60) == side)
        for down, number in of_side:
            last = found[number] = max(down, last + LABEL_PERCENT)
        over = max(0.0, last - 100.0)
        for _, number in reversed(of_side if over else []):
            found[number] -= over
    return found


def _value(table: Table, name: str, metric: str) -> float | None:
    return next((line.cells[metric].value for line in table.lines if line.name == name), None)


def _letters(ranking: Ranking, num_detectors: int) -> list[str]:
    """The compact letter display: detectors that share a letter cannot be told apart."""
    groups = list(ranking.groups)
    alone = [place for place in range(num_detectors) if not any(place in group for group in groups)]
    groups.extend((place,) for place in alone)
    groups.sort(key=lambda group: min(ranking.mean_ranks[place] for place in group))
    return [
        "".join(chr(ord("a") + number) for number, group in enumerate(groups) if place in group)
        for place in range(num_detectors)
    ]


def _ranking_words(ranking: Ranking, num_categories: int) -> str:
    told = (
        "the detectors differ by more than chance"
        if ranking.p_value < 0.05
        else "these categories are too few, or the detectors too alike, to call any difference"
    )
    chance = words.p_value(ranking.p_value) if ranking.p_value >= 0.001 else "under 0.001"
    return (
        f"Mean ranks by image AUROC over {_categories(num_categories)}. Friedman's test gives p = {chance}: {told}. "
        "Detectors that share a letter lie within the critical difference of "
        f"{ranking.critical_difference:.2f} ranks (Nemenyi, 5 %)."
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"


def _categories(count: int) -> str:
    return "1 category" if count == 1 else f"{count} categories"


def _is_wrong(result: Mapping[str, Any]) -> bool:
    """A good part rejected or a defective one accepted; review is neither."""
    return bool(result["decision"] == ("reject" if result["label"] == GOOD else "accept"))


def _bars(values: Sequence[float], x: Axis, threshold: float | None) -> str:
    return histogram(values, x, anchor=threshold, num_bins=32).path(x)


def _block(place: int, total: int) -> str:
    left, right = 100 * place / total, 100 * (place + 1) / total
    return f"M{left:.3f} 0H{right:.3f}V100H{left:.3f}Z"


def mean_words(values: Sequence[float]) -> str:
    """Median and middle half of some values.

    >>> mean_words([1.0, 2.0, 3.0, 4.0, 5.0])
    '3.000 (2.000 to 4.000)'
    """
    if not values:
        return "–"
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{words.score(middle)} ({words.score(low)} to {words.score(high)})"
