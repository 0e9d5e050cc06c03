"""What a bundle would miss, as pages show it: curves over the size, sizes found, and where on the part it is blind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.decisions.sensitivity import (
    NOT_REAL,
    NOUNS,
    STRENGTHS,
    DetectionCurve,
    FoundByPlace,
    SizeFound,
    detection_curves,
    found_by_place,
    sensitivity_facts,
    sensitivity_sentence,
    size_text,
)
from blemish.files import write_file
from blemish.reports import words
from blemish.reports.charts import Axis, axis_of, band_path, line_path, log_axis
from blemish.reports.gallery import photo_uri, picture_uri
from blemish.reports.page import render
from blemish.schema import GradedKind, Image, PaintedTrial, Sensitivity
from blemish.text import json_text

_NUM_POINTS = 24
_NUM_GROUPS = 6
_FINER = 4  # the picture of places is drawn so many times finer than its grid


@dataclass(frozen=True)
class Example:
    """One painted defect as it was inspected, cut out."""

    trial: PaintedTrial
    picture: Image


def write_sensitivity_page(
    sensitivity: Sensitivity,
    folder: Path,
    *,
    name: str,
    mm_per_px: float | None = None,
    part: Image | None = None,
    examples: Sequence[Example] = (),
) -> Path:
    """The page `index.html` in `folder`, complete in itself: what a bundle for `name` finds of painted defects.

    `sensitivity.json` beside it holds each painted defect. `part` is a good image.
    """
    page = render(
        "sensitivity.html",
        name=name,
        version=metadata.version("blemish"),
        written=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        sensitivity=sensitivity_section(sensitivity, mm_per_px, part, examples),
    )
    content = {**sensitivity_facts(sensitivity, mm_per_px), "trials": [asdict(trial) for trial in sensitivity.trials]}
    write_file(folder / "sensitivity.json", json_text(content, indent=1).encode())
    return write_file(folder / "index.html", page.encode("utf-8"))


def sensitivity_section(
    sensitivity: Sensitivity,
    mm_per_px: float | None = None,
    part: Image | None = None,
    examples: Sequence[Example] = (),
) -> dict[str, Any]:
    """All that the section about missed defects shows; `part` is a good image to show blind places on."""
    curves = detection_curves(sensitivity.trials)
    places = found_by_place(sensitivity, curves)
    rejected = (
        f" {words.plural(sensitivity.num_rejected, 'more image')} would have been rejected as they are and were left "
        "out."
        if sensitivity.num_rejected
        else ""
    )
    return {
        "sentence": sensitivity_sentence(sensitivity, mm_per_px),
        "not_real": NOT_REAL,
        "painted": f"{words.plural(len(sensitivity.trials), 'defect')} painted on "
        f"{words.plural(sensitivity.num_images, 'good image')}, one on each copy.{rejected}",
        "strengths": list(STRENGTHS),
        "rows": [_row(curve, mm_per_px) for curve in curves],
        "charts": [_chart(curve, sensitivity.trials, mm_per_px) for curve in curves],
        "places": _places(sensitivity, places, part),
        "examples": _examples(examples, mm_per_px),
    }


def _row(curve: DetectionCurve, mm_per_px: float | None) -> dict[str, Any]:
    return {
        "name": NOUNS[curve.kind].capitalize(),
        "measure": _measure(curve.kind),
        "painted": f"{size_text(curve.smallest_px, mm_per_px)} to {size_text(curve.largest_px, mm_per_px)}",
        "found": f"{curve.num_found} of {curve.num_painted}",
        "cells": [(strength, *_cell(curve.size_found(value), mm_per_px)) for strength, value in STRENGTHS.items()],
    }


def _cell(size: SizeFound, mm_per_px: float | None) -> tuple[str, str]:
    """From which size on 90 % are found, and from which on that is shown with 95 % confidence."""
    text = size_text(size.size_px, mm_per_px)
    shown = {"reached": f"from {text}", "all": f"from {text}, the smallest painted", "not reached": f"not up to {text}"}
    sure = "not shown" if size.sure_px is None else f"from {size_text(size.sure_px, mm_per_px)}"
    return shown[size.outcome], f"95 %: {sure}"


def _chart(curve: DetectionCurve, trials: Sequence[PaintedTrial], mm_per_px: float | None) -> dict[str, Any]:
    """Lines of the three strengths, the band of clear defects, and what was found of these in groups of like size."""
    scale = mm_per_px or 1.0
    sizes = np.geomspace(curve.smallest_px, curve.largest_px, _NUM_POINTS)
    across = np.log10(sizes * scale)
    x, y = log_axis(axis_of(across)), Axis(0.0, 1.0, (0.0, 0.5, 0.9, 1.0))
    bounds = [curve.bounds(size, STRENGTHS["clear"]) for size in sizes.tolist()]
    return {
        "name": NOUNS[curve.kind].capitalize(),
        "x": x,
        "y": y,
        "x_name": f"{_measure(curve.kind).capitalize()}, {'px' if mm_per_px is None else 'mm'}",
        "band": band_path(x, y, across, [low for low, _ in bounds], [high for _, high in bounds]),
        "lines": [
            (strength, line_path(x, y, across, [curve.probability(size, value) for size in sizes.tolist()]))
            for strength, value in STRENGTHS.items()
        ],
        "dots": [
            (x.percent(float(np.log10(size * scale))), y.percent(share), count)
            for size, share, count in _groups(curve, trials)
        ],
    }


def _measure(kind: GradedKind) -> str:
    """What the size of a kind is."""
    return "width" if kind == "scratch" else "diameter"


def _groups(curve: DetectionCurve, trials: Sequence[PaintedTrial]) -> list[tuple[float, float, int]]:
    """Clear defects in groups of like size: their mean size, the share found, and how many they are."""
    clear = sorted(
        (trial.size_px, trial.is_found)
        for trial in trials
        if trial.kind == curve.kind and trial.strength == STRENGTHS["clear"]
    )
    groups = np.array_split(np.array(clear, dtype=np.float64).reshape(-1, 2), _NUM_GROUPS)
    return [
        (float(np.exp(np.log(group[:, 0]).mean())), float(group[:, 1].mean()), len(group))
        for group in groups
        if len(group)
    ]


def _places(sensitivity: Sensitivity, places: FoundByPlace, part: Image | None) -> dict[str, Any]:
    height, width = sensitivity.image_hw
    known = places.shares[~np.isnan(places.shares)]
    return {
        "photo": "" if part is None else photo_uri(part),
        "heat": picture_uri(color_places(places, sensitivity.share_found)),
        "aspect": width / height,
        "words": place_words(places, sensitivity.share_found),
        "range": f"{words.rate(float(known.min()))} to {words.rate(float(known.max()))}" if known.size else "",
    }


def color_places(places: FoundByPlace, usual: float) -> NDArray[np.uint8]:
    """RGBA uint8 over the image, finer than the grid: clear where the usual share is found, dark red where nothing is.

    Places where nothing was painted are gray.
    """
    shares = np.where(np.isnan(places.shares), usual, places.shares)
    wh = shares.shape[1] * _FINER, shares.shape[0] * _FINER
    fine = np.clip(cv2.resize(shares.astype(np.float32), wh, interpolation=cv2.INTER_CUBIC), 0, 1)
    lack = np.clip((usual - fine) / max(usual, 1e-6), 0, 1)[..., None]
    unknown = cv2.resize(np.isnan(places.shares).astype(np.float32), wh, interpolation=cv2.INTER_LINEAR)[..., None]
    red, gray = 230 * lack**0.8 * (1 - unknown), 110 * unknown
    opacity = red + gray
    color = (red * (160.0, 20.0, 30.0) + gray * 128.0) / np.maximum(opacity, 1e-6)
    return np.asarray(np.rint(np.concatenate([color, opacity], axis=2)), np.uint8)


def place_words(places: FoundByPlace, usual: float) -> str:
    """Where least is found, if that is clearly less than elsewhere."""
    if not places.is_weak.any():
        return "No place stands out: where something was painted, about as much is found as elsewhere."
    shares = np.where(places.is_weak, places.shares, np.inf)
    row, column = divmod(int(shares.argmin()), shares.shape[1])
    return (
        f"Least is found {_where(row / shares.shape[0], column / shares.shape[1])}: there "
        f"{words.rate(float(shares[row, column]))} of the painted defects would be found, {words.rate(usual)} on the "
        "whole part."
    )


def _where(down: float, across: float) -> str:
    vertical = ("at the top", "in the middle", "at the bottom")[min(2, int(3 * down))]
    horizontal = ("left", "", "right")[min(2, int(3 * across))]
    if vertical == "in the middle" and horizontal:
        return f"on the {horizontal}"
    return f"{vertical} {horizontal}".strip()


def _examples(examples: Sequence[Example], mm_per_px: float | None) -> list[dict[str, Any]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for example in sorted(examples, key=lambda example: example.trial.size_px):
        rows.setdefault(NOUNS[example.trial.kind].capitalize(), []).append(
            {
                "picture": photo_uri(example.picture),
                "size": size_text(example.trial.size_px, mm_per_px),
                "is_found": example.trial.is_found,
            }
        )
    return [{"name": name, "pictures": pictures} for name, pictures in rows.items()]
