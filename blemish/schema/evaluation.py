"""A bundle judged on labelled images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blemish.schema.images import Image, ImageItem, Mask
from blemish.schema.verdict import Decision, Verdict


@dataclass(frozen=True)
class Picture:
    """One evaluated image with all that a gallery shows of it: `mask` is None where there is none."""

    item: ImageItem
    verdict: Verdict
    image: Image = field(repr=False)
    mask: Mask | None = field(repr=False, default=None)


@dataclass(frozen=True)
class ImageResult:
    """One row of an evaluation: the true state of an image and what was decided about it.

    `reconstruction_mse` is that of pixels from 0 to 1 at the input size, None where nothing is reconstructed.
    """

    path: str
    label: int
    defect_type: str
    score: float
    decision: Decision
    display_score: float
    p_value: float
    milliseconds: float
    has_mask: bool
    reconstruction_mse: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """A bundle judged on a labelled data set.

    `metrics` is flat and JSON-like, with the names of the command line's `--json`; `model` holds the facts of the
    bundle (detector, backbone, input size, settings), `data` those of the data set (name, path, counts, notes).
    Rates and metrics are shares from 0 to 1, times are milliseconds.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import blemish
    >>> from blemish.testing.tiny import write_tiny_product
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data = write_tiny_product(Path(folder))
    ...     evaluation = blemish.train(data, detector="template", size=64).evaluate(data)
    >>> evaluation.metrics["num_good"], evaluation.metrics["num_defective"]
    (6, 6)
    """

    metrics: Mapping[str, Any]
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    results: tuple[ImageResult, ...]
    pictures: tuple[Picture, ...] = ()
