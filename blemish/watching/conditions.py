"""Numbers taken of every image to notice when pictures or parts no longer look like the good images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np

from blemish.schema import Condition, Image

CONDITIONS: tuple[tuple[str, Literal["over", "both"]], ...] = (
    # A model that was fitted on fewer images scores a little higher than the final one, so scores of cross-fitted good
    # images may lie above those of later parts; only larger values are a sign of drift.
    ("score", "over"),
    ("brightness", "both"),
    ("highlights", "both"),
    ("sharpness", "both"),
    ("position_x", "both"),
    ("position_y", "both"),
)
"""Name and watched side of each number, in the order of `measure_conditions`."""


def measure_conditions(image: Image, score: float) -> tuple[float, ...]:
    """One number per entry of `CONDITIONS`, of an image at the graph's input size and its anomaly score."""
    return (float(score), *measure_picture(image))


def measure_picture(image: Image) -> tuple[float, ...]:
    """The conditions other than the score, which no model has a part in.

    Brightness is the mean gray value, highlights its 95 % quantile, sharpness the mean second difference over the
    mean first difference (so that contrast has no part in it), position the center of gravity of the gray values in
    shares of the width and height.
    """
    gray = (image[..., 0].astype(np.int16) + image[..., 1] + image[..., 1] + image[..., 2]) >> 2
    height, width = gray.shape
    columns = gray.sum(axis=0, dtype=np.int64)
    rows = gray.sum(axis=1, dtype=np.int64)
    total = int(columns.sum())
    cumulative = np.bincount(gray.ravel(), minlength=256).cumsum()
    highlights = int(np.searchsorted(cumulative, 0.95 * gray.size))
    steps = np.diff(gray, axis=1)
    first = int(np.abs(steps).sum(dtype=np.int64))
    second = int(np.abs(np.diff(steps, axis=1)).sum(dtype=np.int64))
    return (
        total / gray.size,
        float(highlights),
        second / max(first, 1),
        float(columns @ np.arange(0.5, width)) / (width * max(total, 1)),
        float(rows @ np.arange(0.5, height)) / (height * max(total, 1)),
    )


def good_conditions(scores: Iterable[float], pictures: Iterable[tuple[float, ...]]) -> tuple[Condition, ...]:
    """The reference of a drift watch: scores of good images that the scoring model did not see, and what
    `measure_picture` gave for all good images, also those that were fitted on.
    """
    columns = (scores, *zip(*pictures, strict=True))
    return tuple(
        Condition(name, tuple(sorted(float(value) for value in values)), side)
        for (name, side), values in zip(CONDITIONS, columns, strict=True)
    )
