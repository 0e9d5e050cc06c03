"""Pixel scores of a data set larger than memory: counts in bins that are as fine as memory allows.

A bin holds the scores whose float32 patterns, put in numerical order, agree in all but the last `shift` bits. The
shift starts at 0, where a bin is one value and nothing is lost, and grows only when there are too many bins; it
depends on the scores alone, not on their order. Scores of one bin are treated as tied, which is the only error, and
`error_bounds` says from the counts how large it can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blemish.metrics.levels import Levels, Values, area_by_level
from blemish.metrics.overlap import Pixels


@dataclass(frozen=True)
class _Counts:
    """Occupied bins in rising order, the pixels in each, and their summed shares of defect regions (none if good)."""

    keys: NDArray[np.uint32]
    pixels: NDArray[np.int64]
    overlap: NDArray[np.float64]


_NOTHING = _Counts(np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0))


class ScoreHistogram:
    """Counts of good and defective pixels by score, in at most `max_bins` bins for each class."""

    def __init__(self, max_bins: int = 1 << 20) -> None:
        self.max_bins = max_bins
        self.shift = 0
        self.num_regions = 0
        self._good = _NOTHING
        self._defective = _NOTHING

    def add(self, images: Sequence[Pixels]) -> None:
        """Counts the pixels of more images."""
        good = _cut(_ordered_keys(np.concatenate([image.good for image in images])), self.shift)
        good.sort()
        self._good = _merged(self._good, _summed(good, np.ones(len(good), np.int64), np.empty(0)))
        defective = _cut(_ordered_keys(np.concatenate([image.defective for image in images])), self.shift)
        order = np.argsort(defective)
        overlap = np.concatenate([image.overlap for image in images])[order]
        found = _summed(defective[order], np.ones(len(order), np.int64), overlap)
        self._defective = _merged(self._defective, found)
        self.num_regions += sum(image.num_regions for image in images)
        while max(len(self._good.keys), len(self._defective.keys)) > self.max_bins:
            self.shift += 1
            self._good, self._defective = _coarser(self._good), _coarser(self._defective)

    def levels(self) -> Levels:
        """The ranking of the bins that hold defective pixels."""
        keys = self._defective.keys[::-1]
        up_to = np.concatenate(([0], np.cumsum(self._good.pixels)))
        below = up_to[np.searchsorted(self._good.keys, keys, side="left")]
        not_above = up_to[np.searchsorted(self._good.keys, keys, side="right")]
        return Levels(
            defective=self._defective.pixels[::-1],
            good=not_above - below,
            good_above=up_to[-1] - not_above,
            num_good=up_to[-1],
            overlap=self._defective.overlap[::-1],
            num_regions=np.asarray(self.num_regions),
        )


def error_bounds(levels: Levels, limits: dict[str, float]) -> dict[str, float]:
    """How far each pixel-level metric can be from its exact value, whatever the order of scores within bins.

    `limits` names the AUPRO to bound and gives their false positive limits.
    """
    defective, good = levels.defective, levels.good
    num_defective, num_good = defective.sum(), levels.num_good
    found, marked = levels.true_positives, levels.false_positives
    before, above = found - defective, levels.good_above
    # Precision within a bin lies between that with all its good pixels first and that with all its defective first.
    least = ((before + 1) / (before + 1 + marked) + found / (found + marked)) / 2
    most, taken = found / (found + above), found / (found + marked)
    low, high = np.sum(defective * least), np.sum(defective * most)
    middle = np.sum(defective * taken)
    f1 = 2 * found / (num_defective + found + marked)
    best_f1 = 2 * found / (num_defective + found + above)
    bounds = {
        "pixel_auroc": np.sum(defective * (good / num_good)) / 2 / num_defective,
        "pixel_ap": max(high - middle, middle - low) / num_defective,
        "pixel_f1_max": best_f1.max() - f1.max(),
    }
    for name, limit in limits.items():
        full, ramp = area_by_level(levels, limit)
        bounds[name] = np.sum(levels.overlap * (full - ramp)) / limit / levels.num_regions
    return {name: float(bound) for name, bound in bounds.items()}


def _ordered_keys(scores: Values) -> NDArray[np.uint32]:
    """Unsigned integers in the order of the scores; both zeros are one."""
    bits = scores.astype(np.float32).view(np.uint32)
    keys: NDArray[np.uint32] = np.where(scores < 0, ~bits, bits | np.uint32(1 << 31))
    return keys


def _cut(keys: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    cut: NDArray[np.uint32] = np.right_shift(keys, np.uint32(bits))
    return cut


def _merged(counts: _Counts, more: _Counts) -> _Counts:
    keys = np.concatenate([counts.keys, more.keys])
    order = np.argsort(keys, kind="stable")
    pixels, overlap = np.concatenate([counts.pixels, more.pixels]), np.concatenate([counts.overlap, more.overlap])
    return _summed(keys[order], pixels[order], overlap[order] if len(overlap) else overlap)


def _coarser(counts: _Counts) -> _Counts:
    return _summed(_cut(counts.keys, 1), counts.pixels, counts.overlap)


def _summed(keys: NDArray[np.uint32], pixels: NDArray[np.int64], overlap: NDArray[np.float64]) -> _Counts:
    """One bin for each stretch of equal keys."""
    if len(keys) == 0:
        return _NOTHING
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    summed = np.add.reduceat(overlap, starts) if len(overlap) else overlap
    return _Counts(keys[starts], np.add.reduceat(pixels, starts), summed)
