"""AUPRO: how much of each defect region is found before good pixels are marked (Bergmann et al., IJCV 2021)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.errors import MetricError
from blemish.metrics.components import label_regions
from blemish.metrics.levels import Levels, Values, aupro_of, finite, float_type, rank, require_both
from blemish.schema import Mask


@dataclass(frozen=True)
class Pixels:
    """The pixel scores of an image (or of many) by class; `overlap` is each defective pixel's share of its region."""

    good: Values
    defective: Values
    overlap: Values
    num_regions: int


def split_pixels(anomaly_map: NDArray[Any], mask: Mask | None, metric: str) -> Pixels:
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


@dataclass(frozen=True)
class Room:
    """How many pixels are to come, at most, and the float type that keeps all their scores apart."""

    num_pixels: int
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, anomaly_maps: Sequence[NDArray[Any]]) -> Room:
        arrays = [np.asarray(scores) for scores in anomaly_maps]
        types = (float_type(scores.dtype) for scores in arrays)
        return cls(sum(scores.size for scores in arrays), np.result_type(np.float32, *types))


def pool(images: Iterable[Pixels], room: Room, metric: str, limit: float = 1.0) -> Levels:
    """The levels of the pixels of many images; those beyond a pixel false positive rate of `limit` may be missing.

    Good pixels are nearly all of the memory: they are copied once, each image as it comes.
    """
    good: Values = np.empty(room.num_pixels, room.dtype)
    num_good, num_regions = 0, 0
    found: list[Values] = [np.empty(0, room.dtype)]
    shares: list[Values] = [np.empty(0)]
    for image in images:
        good[num_good : num_good + len(image.good)] = image.good
        num_good += len(image.good)
        num_regions += image.num_regions
        found.append(image.defective)
        shares.append(image.overlap)
    good = good[:num_good]
    defective, overlap = np.concatenate(found), np.concatenate(shares)
    del found, shares
    require_both(num_good, len(defective), metric, "pixels")
    if limit < 1:
        good = _highest(good, math.ceil(limit * num_good))
        is_within = defective >= good.min()
        if is_within.any():
            defective, overlap = defective[is_within], overlap[is_within]
    good.sort()
    return replace(rank(good, defective, overlap, num_regions), num_good=np.asarray(num_good))


def _highest(good: Values, num: int) -> Values:
    """The highest `num` scores, and all that tie with the lowest of them: to sort the others would be most work."""
    start = len(good) - num
    good.partition(start)
    num_tied = int(np.count_nonzero(good[:start] == good[start]))
    return np.concatenate([np.full(num_tied, good[start]), good[start:]])


def aupro(anomaly_maps: Iterable[NDArray[Any]], masks: Iterable[Mask | None], limit: float = 0.3) -> float:
    """The area under the per-region overlap curve up to a pixel false positive rate of `limit`, divided by it.

    Maps and masks of one size each (height, width), image by image; a mask of None means a good image. Exact: no
    threshold sweep, no sub-sampling, the trapezoid rule with linear interpolation at the limit.

    >>> mask = np.array([[1, 1, 0, 0, 0, 0]], dtype=bool)
    >>> aupro([np.array([[9, 3, 4, 2, 1, 0]])], [mask], limit=0.5)
    0.75
    """
    if not 0 < limit <= 1:
        raise MetricError(f"aupro needs a limit above 0 and at most 1; found {limit}")
    maps = list(anomaly_maps)
    pixels = (split_pixels(scores, mask, "aupro") for scores, mask in zip(maps, masks, strict=True))
    return float(aupro_of(pool(pixels, Room.of(maps), "aupro", limit), limit))
