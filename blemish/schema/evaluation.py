"""A bundle judged on labelled images."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blemish.schema.images import Image, ImageItem, Mask
from blemish.schema.verdict import Decision, Verdict
from blemish.text import one_line


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


HEADLINES = (
    "image_auroc",
    "image_ap",
    "image_f1_max",
    "pixel_auroc",
    "pixel_ap",
    "pixel_f1_max",
    "aupro_30",
    "aupro_05",
    "accuracy",
    "balanced_accuracy",
    "false_reject_rate",
    "escape_rate",
)
"""The metrics that are shown first, in their order."""


@dataclass(frozen=True, repr=False)
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

    def headlines(self) -> list[tuple[str, float, tuple[float, float] | None]]:
        """Name, value and 95 % interval of the headline metrics that there are; shares from 0 to 1."""
        limits = self.metrics.get("intervals", {})
        return [
            (name, value, tuple(limits[name]) if limits.get(name) else None)
            for name in HEADLINES
            if isinstance(value := self.metrics.get(name), float)
        ]

    def __repr__(self) -> str:
        return f"Evaluation({self._sentence()})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{name}</th><td>{value:.4f}</td>"
            f"<td>{f'{limits[0]:.4f} to {limits[1]:.4f}' if limits else ''}</td></tr>"
            for name, value, limits in self.headlines()
        )
        head = "<tr><th></th><th>value</th><th>95 % interval</th></tr>"
        return f"<b>{html.escape(self._sentence())}</b><table>{head}{rows}</table>"

    def _sentence(self) -> str:
        parts = [
            f"{one_line(str(self.data.get('name', 'data')))}: {self.metrics['num_good']} good and "
            f"{self.metrics['num_defective']} defective images"
        ]
        for name, words in (
            ("image_auroc", "image AUROC"),
            ("escape_rate", "escapes"),
            ("false_reject_rate", "false rejects"),
        ):
            value = self.metrics.get(name)
            if isinstance(value, float):
                parts.append(f"{words} {value:.3f}" if name == "image_auroc" else f"{words} {value:.1%}")
        return ", ".join(parts)
