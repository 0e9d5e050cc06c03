"""SegF1 of MVTec AD 2: the F1 of marked pixels at a threshold that no test image has helped to set."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.errors import MetricError
from blemish.metrics.levels import finite
from blemish.schema import Mask


@dataclass(frozen=True)
class MarkedPixels:
    """Counts of pixels above the threshold (marked) and of defective pixels that are not; they add up over images."""

    marked_good: int = 0
    marked_defective: int = 0
    missed_defective: int = 0

    def __add__(self, other: MarkedPixels) -> MarkedPixels:
        return MarkedPixels(
            self.marked_good + other.marked_good,
            self.marked_defective + other.marked_defective,
            self.missed_defective + other.missed_defective,
        )

    @property
    def f1(self) -> float:
        wrong = self.marked_good + self.missed_defective
        if self.marked_defective + self.missed_defective == 0:
            raise MetricError("segf1 needs defective pixels; found none in any mask")
        return 2 * self.marked_defective / (2 * self.marked_defective + wrong)


def mark_pixels(anomaly_map: NDArray[Any], mask: Mask | None, threshold: float) -> MarkedPixels:
    """The counts of one image; no mask means that all pixels are good."""
    is_marked = finite(anomaly_map, "segf1") > threshold
    num_marked = int(np.count_nonzero(is_marked))
    if mask is None:
        return MarkedPixels(marked_good=num_marked)
    if mask.shape != is_marked.shape:
        raise MetricError(f"segf1 needs maps of the size of their masks; found {is_marked.shape} and {mask.shape}")
    is_defective = np.asarray(mask) != 0
    hit = int(np.count_nonzero(is_marked & is_defective))
    return MarkedPixels(num_marked - hit, hit, int(np.count_nonzero(is_defective)) - hit)


def segf1(anomaly_maps: Iterable[NDArray[Any]], masks: Iterable[Mask | None], threshold: float) -> float:
    """The F1 of marking all pixels above `threshold`, over the pixels of all images together.

    The threshold must come from good images that are not in the test, as from `pixel_threshold`.

    >>> segf1([np.array([[3.0, 1.0, 0.0]])], [np.array([[True, True, False]])], threshold=2.0)
    0.6666666666666666
    """
    pairs = zip(anomaly_maps, masks, strict=True)
    return sum((mark_pixels(scores, mask, threshold) for scores, mask in pairs), MarkedPixels()).f1


def pixel_threshold(good_maps: Iterable[NDArray[Any]], deviations: float = 3.0) -> float:
    """The mean of the maps' pixels plus so many standard deviations; the maps are of good images not fitted on.

    >>> pixel_threshold([np.array([[0.0, 2.0]])])
    4.0
    """
    count, total, squares = 0, 0.0, 0.0
    shift: float | None = None
    for scores in good_maps:
        values = finite(scores, "pixel_threshold").astype(np.float64)
        # Sums about a number among the scores: squares of the scores themselves would lose digits.
        shift = float(values.flat[0]) if shift is None else shift
        count, total, squares = (
            count + values.size,
            total + (values - shift).sum(),
            squares + ((values - shift) ** 2).sum(),
        )
    if shift is None:
        raise MetricError("pixel_threshold needs at least one map of a good image; found none")
    mean = total / count
    return float(shift + mean + deviations * math.sqrt(max(squares / count - mean**2, 0.0)))
