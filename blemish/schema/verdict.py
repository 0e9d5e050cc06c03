"""What is predicted and decided about one image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from blemish.schema.images import AnomalyMap, Image

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
    contour: tuple[tuple[int, int], ...]
    area_px: float
    centroid: tuple[float, float]
    peak: tuple[int, int]
    peak_score: float
    mean_score: float
    length_px: float
    area_mm2: float | None = None
    length_mm: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What is decided about one image, and why.

    `score` and `threshold` are raw anomaly scores; `p_value` is conformal, in (0, 1]; `display_score` is 0 to 100
    with 50 at the threshold and is never used to decide; `anomaly_map` is raw, at the graph's map size.
    `num_more_regions` were found besides `regions`, those with the largest peaks. `conditions` are the numbers that the
    drift watch takes, empty where nobody watches.

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
    reconstruction: Image | None = field(default=None, repr=False, compare=False)
