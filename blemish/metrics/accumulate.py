"""Pixel-level metrics gathered image by image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.errors import MetricError
from blemish.metrics.levels import aupro_of, auroc_of, average_precision_of, f1_max_of
from blemish.metrics.overlap import Pixels, pool, split_pixels
from blemish.schema import GOOD, Mask


class PixelAccumulator:
    """Takes one anomaly map at a time and computes all pixel-level metrics at the end.

    Maps must have the size of their masks. A defective image without a mask, or with an empty one, says nothing
    about its pixels: it is counted in `num_without_mask` and left out.

    >>> pixels = PixelAccumulator()
    >>> pixels.update(np.array([[0.9, 0.2, 0.1]], dtype=np.float32), np.array([[True, False, False]]), label=1)
    >>> pixels.compute()["pixel_auroc"]
    1.0
    """

    def __init__(self, *, memory_mb: int = 1024, seed: int = 0, resamples: int = 1000) -> None:
        self.memory_mb = memory_mb
        self.seed = seed
        self.resamples = resamples
        self.num_without_mask = 0
        self._held: list[Pixels] = []

    def update(self, anomaly_map: NDArray[np.generic], mask: Mask | None, label: int) -> None:
        """Adds one image; the mask of a good image is None or empty."""
        has_defect = mask is not None and bool(np.any(mask))
        if label == GOOD and has_defect:
            raise MetricError("pixel-level metrics need empty masks for good images; found a good image with a defect")
        if label != GOOD and not has_defect:
            self.num_without_mask += 1
            return
        self._held.append(split_pixels(anomaly_map, mask, "pixel_auroc"))

    @property
    def has_defects(self) -> bool:
        """Whether pixel-level metrics are defined: at least one image with a defect in its mask has come."""
        return any(image.num_regions for image in self._held)

    def compute(self) -> dict[str, Any]:
        """`pixel_auroc pixel_ap pixel_f1_max aupro_30 aupro_05 aupro_01`, their `intervals`, and counts of images.

        Raises `MetricError` where there is no defective or no good pixel.
        """
        levels = pool(self._held, "pixel_auroc")
        return {
            "pixel_auroc": float(auroc_of(levels)),
            "pixel_ap": float(average_precision_of(levels)),
            "pixel_f1_max": float(f1_max_of(levels)),
            "aupro_30": float(aupro_of(levels, 0.3)),
            "aupro_05": float(aupro_of(levels, 0.05)),
            "aupro_01": float(aupro_of(levels, 0.01)),
            "num_pixel_images": len(self._held),
            "num_without_mask": self.num_without_mask,
            "intervals": {},
        }
