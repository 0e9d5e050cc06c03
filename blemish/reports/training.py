"""How a learned detector came about: loss curves and the separation of synthetic defects, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blemish.reports import words
from blemish.reports.charts import Axis, axis_of, line_path, log_axis


@dataclass(frozen=True)
class Curve:
    """A chart over epochs: one path for each named series."""

    name: str
    x: Axis
    y: Axis
    y_name: str
    paths: tuple[tuple[str, str], ...]
    summary: str


@dataclass(frozen=True)
class Training:
    """The curves of a training and its facts in words."""

    curves: tuple[Curve, ...]
    words: str


def training_of(facts: Mapping[str, Any]) -> Training | None:
    """What the facts of a fit tell of its training; None where nothing was trained over epochs."""
    history = [entry for entry in facts.get("history", ()) if math.isfinite(entry.get("train_loss", math.nan))]
    if not history:
        return None
    epochs = [float(entry["epoch"]) for entry in history]
    best = facts.get("best_epoch")
    curves = [
        _curve(
            "Loss",
            "Loss, on a logarithmic scale" if _is_positive(history) else "Loss",
            epochs,
            [("training", "train_loss"), ("held-out good images", "validation_loss")],
            history,
            logarithm=_is_positive(history),
            summary=f"best epoch {best}" if best else "",
        )
    ]
    if any(math.isfinite(entry.get("separation_ratio") or math.nan) for entry in history):
        curves.append(
            _curve(
                "Separation ratio",
                "Mean score of synthetic defects by that of good images",
                epochs,
                [("separation", "separation_ratio")],
                history,
                summary="never sees test images",
            )
        )
    return Training(tuple(curves), _training_words(facts, len(history)))


def _is_positive(history: Sequence[Mapping[str, Any]]) -> bool:
    values = [entry.get(name) for entry in history for name in ("train_loss", "validation_loss")]
    return all(value is not None and value > 0 for value in values)


def _curve(
    name: str,
    y_name: str,
    epochs: Sequence[float],
    series: Sequence[tuple[str, str]],
    history: Sequence[Mapping[str, Any]],
    *,
    logarithm: bool = False,
    summary: str = "",
) -> Curve:
    found: list[tuple[str, list[float], list[float]]] = []
    for label, key in series:
        points = [
            (epoch, math.log10(entry[key]) if logarithm else float(entry[key]))
            for epoch, entry in zip(epochs, history, strict=True)
            if entry.get(key) is not None and math.isfinite(entry[key])
        ]
        if points:
            found.append((label, [x for x, _ in points], [y for _, y in points]))
    x = axis_of(epochs, count=5)
    heights = [y for _, _, ys in found for y in ys]
    y = axis_of(heights, margin=0.05, count=4)
    if logarithm:
        y = log_axis(y)
    paths = tuple((label, line_path(x, y, xs, ys)) for label, xs, ys in found)
    return Curve(name, x, y, y_name, paths, summary)


def _training_words(facts: Mapping[str, Any], num_epochs: int) -> str:
    parts = [words.plural(num_epochs, "epoch")]
    if facts.get("train_seconds") is not None:
        parts.append(f"{words.seconds(facts['train_seconds'])}")
    if facts.get("num_train") is not None:
        parts.append(f"{words.plural(facts['num_train'], 'image')} trained on")
    if facts.get("num_validation") is not None:
        parts.append(f"{facts['num_validation']:,} held out")
    if facts.get("num_parameters") is not None:
        parts.append(f"{facts['num_parameters']:,} parameters")
    return ", ".join(parts)
