"""What is predicted and decided about one image."""

from __future__ import annotations

import base64
import html
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from blemish.errors import SettingsError
from blemish.files import write_file
from blemish.schema.alignment import Pose
from blemish.schema.images import AnomalyMap, Image
from blemish.text import json_text, one_line, readable

Decision = Literal["accept", "review", "reject"]


@dataclass(frozen=True)
class Prediction:
    """What a graph says of one image: raw anomaly score and raw anomaly map."""

    anomaly_score: float
    anomaly_map: AnomalyMap
    reconstruction: Image | None = None

    def __post_init__(self) -> None:
        if self.anomaly_map.ndim != 2:
            raise ValueError(f"anomaly_map: expected (height, width), got shape {self.anomaly_map.shape}")


@dataclass(frozen=True)
class Judgement:
    """What a score alone decides; see `Verdict` for the meaning of the values."""

    decision: Decision
    p_value: float
    display_score: float


@dataclass(frozen=True)
class Region:
    """A connected part of the anomaly mask, in pixels (x right, y down) of the inspected image.

    `box` is x, y, width, height; `length_px` is the largest width in any direction (Feret diameter).
    The `_mm` values are None where the scale of the image is not known.

    >>> import blemish
    >>> from blemish.testing.tiny import make_tiny_product
    >>> product = make_tiny_product()
    >>> model = blemish.train(list(product.good), detector="template", size=64)
    >>> [region] = model.inspect(product.defects[1].image).regions
    >>> region.area_px > 10, region.length_mm is None
    (True, True)
    """

    box: tuple[int, int, int, int]
    contour: tuple[tuple[int, int], ...] = field(repr=False)
    area_px: float
    centroid: tuple[float, float]
    peak: tuple[int, int]
    peak_score: float
    mean_score: float
    length_px: float
    area_mm2: float | None = None
    length_mm: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The region as plain values that JSON can hold; None in place of numbers that are not finite."""
        return {
            "box": [int(value) for value in self.box],
            "contour": [[int(x), int(y)] for x, y in self.contour],
            "area_px": _number(self.area_px),
            "centroid": [_number(value) for value in self.centroid],
            "peak": [int(value) for value in self.peak],
            "peak_score": _number(self.peak_score),
            "mean_score": _number(self.mean_score),
            "length_px": _number(self.length_px),
            "area_mm2": _number(self.area_mm2),
            "length_mm": _number(self.length_mm),
        }


class Drawing(Protocol):
    """Draws the overlay of a verdict: the image with its map in color and the outlines of its regions."""

    def draw(self, verdict: Verdict) -> Image: ...

    def png(self, verdict: Verdict) -> bytes: ...


@dataclass(frozen=True, repr=False)
class Verdict:
    """What is decided about one image, and why.

    `score` and `threshold` are raw anomaly scores; `p_value` is conformal, in (0, 1]; `display_score` is 0 to 100
    with 50 at the threshold and is never used to decide; `anomaly_map` is raw, at the graph's map size. Where the part
    was laid straight, `pose` says where it lies, and map and regions are those of the picture as it was taken.
    `num_more_regions` were found besides `regions`, those with the largest peaks. `conditions` are the numbers that the
    drift watch takes, empty where nobody watches. `drawing` draws the overlay, None where the image is not kept.

    >>> import blemish
    >>> from blemish.testing.tiny import make_tiny_product
    >>> product = make_tiny_product()
    >>> verdict = blemish.train(list(product.good), detector="template", size=64).inspect(product.defects[1].image)
    >>> verdict.decision, verdict.score > verdict.threshold, verdict.display_score > 50
    ('reject', True, True)
    """

    path: str
    decision: Decision
    score: float
    threshold: float
    p_value: float
    display_score: float
    regions: tuple[Region, ...]
    milliseconds: float
    bundle_id: str
    image_hw: tuple[int, int]
    anomaly_map: AnomalyMap = field(repr=False, compare=False)
    reasons: tuple[str, ...] = ()
    conditions: tuple[float, ...] = ()
    num_more_regions: int = 0
    pose: Pose | None = None
    reconstruction: Image | None = field(default=None, repr=False, compare=False)
    drawing: Drawing | None = field(default=None, compare=False)

    @property
    def num_regions(self) -> int:
        """All regions found, also those that are not listed."""
        return len(self.regions) + self.num_more_regions

    def overlay(self) -> Image:
        """The inspected image with the anomaly map in color, outlines and a caption below: uint8 RGB (h, w, 3).

        A file is read again. Raises SettingsError where the image was not kept, ImageError where its file is gone.

        >>> import numpy as np, blemish
        >>> parts = [np.full((64, 64), 100 + number, np.uint8) for number in range(8)]
        >>> model = blemish.train(parts, detector="template", size=64)
        >>> model.inspect(parts[0]).overlay().dtype
        dtype('uint8')
        """
        return self._drawing().draw(self)

    def save(self, path: str | Path) -> Path:
        """`path`, now holding the overlay (`.png`) or the verdict as JSON (`.json`)."""
        place = Path(path)
        if place.suffix.lower() == ".png":
            write_file(place, self._drawing().png(self))
        elif place.suffix.lower() == ".json":
            write_file(place, (json_text(self.to_dict(), indent=2) + "\n").encode())
        else:
            raise SettingsError(f"{place}: name it .png for the overlay or .json for the numbers")
        return place

    def to_dict(self) -> dict[str, Any]:
        """The verdict as flat JSON names and plain values, as `inspect --json` has them; the anomaly map stays out.

        None stands for numbers that are not finite, and for a `_mm` value without a known scale.
        """
        return {
            "path": readable(self.path),
            "decision": self.decision,
            "score": _number(self.score),
            "threshold": _number(self.threshold),
            "p_value": _number(self.p_value),
            "display_score": _number(self.display_score),
            "num_regions": self.num_regions,
            "regions": [region.to_dict() for region in self.regions],
            "milliseconds": _number(self.milliseconds),
            "bundle_id": self.bundle_id,
            "reasons": list(self.reasons),
            **({} if self.pose is None else {"pose": self.pose.to_dict()}),
        }

    def __repr__(self) -> str:
        return f"Verdict({self._sentence()})"

    def _repr_png_(self) -> bytes | None:
        return None if self.drawing is None else self.drawing.png(self)

    def _repr_html_(self) -> str:
        picture = self._repr_png_()
        shown = "" if picture is None else f'<img src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
        reasons = "".join(f"<br>{html.escape(one_line(reason))}" for reason in self.reasons)
        return f"<figure>{shown}<figcaption>{html.escape(self._sentence())}{reasons}</figcaption></figure>"

    def _sentence(self) -> str:
        name = f"{one_line(self.path)}: " if self.path else ""
        count = self.num_regions
        found = f", {count} region{'s' if count > 1 else ''}" if count else ""
        return f"{name}{self.decision}, score {self.display_score:.1f} (0 to 100, rejected above 50){found}"

    def _drawing(self) -> Drawing:
        if self.drawing is None:
            raise SettingsError(
                f"{self.path or 'this verdict'}: the image was not kept beside it; inspect it again with Model.inspect"
            )
        return self.drawing


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
