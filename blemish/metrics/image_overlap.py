"""AUPIMO: how much of each image's defects is found while good images stay almost clean (Bertoldo et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.errors import MetricError
from blemish.metrics.levels import Values, require_both
from blemish.metrics.overlap import split_pixels
from blemish.schema import Mask


def aupimo(
    anomaly_maps: Iterable[NDArray[Any]],
    masks: Iterable[Mask | None],
    bounds: tuple[float, float] = (1e-5, 1e-4),
) -> NDArray[np.float64]:
    """The AUPIMO of each defective image, in order: its mean recall while the shared false positive rate runs, in
    logarithm, between the bounds.

    The shared rate at a threshold is the mean over good images (mask None or empty) of their share of pixels at or
    above it. Exact: each defective pixel counts for the part of the range in which the threshold is at most its
    score. Needs good images of more than 1 / upper bound pixels together.

    >>> good, mask = np.arange(100.0).reshape(10, 10), np.eye(10, dtype=bool)
    >>> aupimo([good, np.full((10, 10), 99.5)], [None, mask], bounds=(0.01, 0.1))
    array([1.])
    """
    lower, upper = bounds
    if not 0 < lower < upper <= 1:
        raise MetricError(f"aupimo needs rising bounds between 0 and 1; found {bounds}")
    pixels = [split_pixels(scores, mask, "aupimo") for scores, mask in zip(anomaly_maps, masks, strict=True)]
    good = [image.good for image in pixels if image.num_regions == 0]
    defective = [image.defective for image in pixels if image.num_regions > 0]
    require_both(len(good), len(defective), "aupimo", "images")
    num_good = sum(len(image) for image in good)
    if num_good * upper <= 1:
        raise MetricError(
            f"aupimo needs more than {1 / upper:.0f} pixels in good images for an upper bound of {upper:g}; "
            f"found {num_good}: give more good images or a higher bound"
        )
    scores, shares = _highest(good, upper)
    at_or_above = np.append(np.cumsum(shares[::-1])[::-1], 0.0)
    return np.array([_recall(at_or_above[np.searchsorted(scores, image)], lower, upper) for image in defective])


def _highest(good: list[Values], upper: float) -> tuple[Values, NDArray[np.float64]]:
    """The good pixels that can lie within the bounds, rising, and what each adds to the shared rate."""
    kept = []
    for image in good:
        # More of one image's pixels than these lift the mean over all images above the upper bound by themselves.
        num = min(len(image), int(upper * len(good) * len(image)) + 1)
        kept.append(np.partition(image, len(image) - num)[len(image) - num :])
    scores = np.concatenate(kept)
    shares = np.repeat([1 / (len(good) * len(image)) for image in good], [len(image) for image in kept])
    order = np.argsort(scores)
    return scores[order], shares[order]


def _recall(rates: NDArray[np.float64], lower: float, upper: float) -> float:
    """The mean over pixels of the part of the range, in logarithm, above each pixel's rate."""
    shares = np.log(upper / np.clip(rates, lower, upper)) / np.log(upper / lower)
    return float(np.mean(np.minimum(shares, 1.0)))
