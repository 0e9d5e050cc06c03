"""AUPRO: how much of each defect region is found before good pixels are marked (Bergmann et al., IJCV 2021)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from blemish.errors import MetricError
from blemish.metrics.components import label_regions
from blemish.metrics.levels import Levels, Values, aupro_of, finite, rank, require_both
from blemish.schema import Mask


@dataclass(frozen=True)
class Pixels:
    """The pixel scores of an image (or of many) by class; `overlap` is each defective pixel's share of its region."""

    good: Values
    defective: Values
    overlap: Values
    num_regions: int


def split_pixels(anomaly_map: NDArray[np.generic], mask: Mask | None, metric: str) -> Pixels:
    """The pixels of an image by class; no mask means that all are good."""
    scores = finite(anomaly_map, metric)
    if scores.ndim != 2:
        raise MetricError(f"{metric} needs anomaly maps of shape (height, width); found {scores.shape}")
    if mask is None:
        return Pixels(scores.ravel(), np.empty(0, scores.dtype), np.empty(0), 0)
    if mask.shape != scores.shape:
        raise MetricError(
            f"{metric} needs each map at the size of its mask; found a map of {scores.shape} "
            f"and a mask of {mask.shape}: resize the map first"
        )
    is_defective = np.asarray(mask) != 0
    positions, regions = label_regions(is_defective)
    areas = np.bincount(regions)
    flat = scores.ravel()
    return Pixels(flat[~is_defective.ravel()], flat[positions], 1.0 / areas[regions], len(areas))


def pool(pixels: Sequence[Pixels], metric: str, limit: float = 1.0) -> Levels:
    """The levels of the pixels of many images; they hold up to a pixel false positive rate of `limit`."""
    num_good = sum(len(image.good) for image in pixels)
    require_both(num_good, sum(len(image.defective) for image in pixels), metric, "pixels")
    good = np.concatenate([image.good for image in pixels])
    if limit < 1:
        # Only the highest good pixels, up to the limit, count: to sort the others would be most of the work.
        at_limit = num_good - math.ceil(limit * num_good)
        good.partition(at_limit)
        good = good[good >= good[at_limit]]
    good.sort()
    levels = rank(
        good,
        np.concatenate([image.defective for image in pixels]),
        np.concatenate([image.overlap for image in pixels]),
        sum(image.num_regions for image in pixels),
    )
    return replace(levels, num_good=np.asarray(num_good))


def aupro(anomaly_maps: Iterable[NDArray[np.generic]], masks: Iterable[Mask | None], limit: float = 0.3) -> float:
    """The area under the per-region overlap curve up to a pixel false positive rate of `limit`, divided by it.

    Maps and masks of one size each (height, width), image by image; a mask of None means a good image. Exact: no
    threshold sweep, no sub-sampling, the trapezoid rule with linear interpolation at the limit.

    >>> mask = np.array([[1, 1, 0, 0, 0, 0]], dtype=bool)
    >>> aupro([np.array([[9, 3, 4, 2, 1, 0]])], [mask], limit=0.5)
    0.75
    """
    if not 0 < limit <= 1:
        raise MetricError(f"aupro needs a limit above 0 and at most 1; found {limit}")
    pixels = [split_pixels(scores, mask, "aupro") for scores, mask in zip(anomaly_maps, masks, strict=True)]
    return float(aupro_of(pool(pixels, "aupro", limit), limit))
