"""Pixel-level metrics gathered image by image, in memory or, where that is too small, in fine histograms."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.errors import MetricError
from blemish.metrics.bootstrap import Draws, Summary, percentile_interval, pixel_draws, summarize
from blemish.metrics.histogram import ScoreHistogram, error_bounds
from blemish.metrics.levels import Levels, Metric, aupro_of, auroc_of, average_precision_of, f1_max_of, require_both
from blemish.metrics.marking import MarkedPixels, mark_pixels
from blemish.metrics.overlap import Pixels, Room, pool, split_pixels
from blemish.schema import GOOD, Mask

AUPRO_LIMITS = {"aupro_30": 0.3, "aupro_05": 0.05, "aupro_01": 0.01}

PIXEL_METRICS: dict[str, Metric] = {
    "pixel_auroc": auroc_of,
    "pixel_ap": average_precision_of,
    "pixel_f1_max": f1_max_of,
    **{name: partial(aupro_of, limit=limit) for name, limit in AUPRO_LIMITS.items()},
}

_FOLDED_AT_ONCE = 4_000_000


class PixelAccumulator:
    """Takes one anomaly map at a time and computes all pixel-level metrics at the end.

    Maps must have the size of their masks and are taken as float32. A defective image without a mask, or with an
    empty one, says nothing about its pixels: it is counted in `num_without_mask` and left out. Metrics are exact as
    long as the pixels fit into `memory_mb`; beyond that they come from histograms of fixed size (about 200 MB, and
    40 kB for each image), and their error bounds are given. With a `pixel_threshold`, set without test images, SegF1
    of the pixels above it is computed too.

    >>> pixels = PixelAccumulator()
    >>> pixels.update(np.array([[0.9, 0.2, 0.1]], dtype=np.float32), np.array([[True, False, False]]), label=1)
    >>> pixels.compute()["pixel_auroc"]
    1.0
    """

    def __init__(
        self, *, pixel_threshold: float | None = None, memory_mb: int = 2048, seed: int = 0, resamples: int = 1000
    ) -> None:
        self.pixel_threshold = pixel_threshold
        self.memory_mb = memory_mb
        self.seed = seed
        self.resamples = resamples
        self.num_without_mask = 0
        self._held: list[Pixels] = []
        self._num_held = np.zeros(2, np.int64)
        self._marked = MarkedPixels()
        self._histogram: ScoreHistogram | None = None
        self._summaries: list[Summary] = []

    def update(self, anomaly_map: NDArray[Any], mask: Mask | None, label: int) -> None:
        """Adds one image; the mask of a good image is None or empty."""
        has_defect = mask is not None and bool(np.any(mask))
        if label == GOOD and has_defect:
            raise MetricError("pixel-level metrics need empty masks for good images; found one that marks a defect")
        if label != GOOD and not has_defect:
            self.num_without_mask += 1
            return
        with np.errstate(over="ignore"):
            scores = np.array(anomaly_map, np.float32)
        pixels = split_pixels(scores, mask, "pixel_auroc")
        if self.pixel_threshold is not None:
            self._marked += mark_pixels(anomaly_map, mask, self.pixel_threshold)
        self._summaries.append(summarize(pixels))
        self._held.append(pixels)
        self._num_held += np.array([len(pixels.good), len(pixels.defective)])
        # What the exact form takes at its peak: good pixels twice, and some arrays over the defective ones.
        if self._histogram is None and self._num_held @ (8, 60) > self.memory_mb * 1_000_000:
            self._histogram = ScoreHistogram()
        if self._histogram is not None and self._num_held.sum() > _FOLDED_AT_ONCE:
            self._fold(self._histogram)

    @property
    def sampling(self) -> tuple[int, int, tuple[int, ...]]:
        """What decides which images the bootstrap draws: seed, resamples, and the defect regions of each image."""
        return self.seed, self.resamples, tuple(image.num_regions for image in self._summaries)

    @property
    def has_defects(self) -> bool:
        """Whether an image with a defect in its mask has come: pixel-level metrics are not defined without."""
        return any(image.num_regions for image in self._summaries)

    def compute(self) -> dict[str, Any]:
        """`pixel_auroc pixel_ap pixel_f1_max aupro_30 aupro_05 aupro_01 segf1`, `intervals`, and how they came about:
        `num_pixel_images`, `num_without_mask`, `pixel_form` ("exact" or "streaming"), `pixel_error_bounds`.

        Intervals are of 95 %, by the bootstrap over images; with fewer than two defective images there are none.
        Raises `MetricError` where there is no defective or no good pixel.
        """
        levels = self._levels()
        exact = {name: float(metric(levels)) for name, metric in PIXEL_METRICS.items()}
        is_streaming = self._histogram is not None and self._histogram.shift > 0
        intervals = {}
        if sum(image.num_regions > 0 for image in self._summaries) > 1:
            intervals = {name: percentile_interval(draws) for name, draws in self.draws(exact).items()}
        return {
            **exact,
            **({} if self.pixel_threshold is None else {"segf1": self._marked.f1}),
            "num_pixel_images": len(self._summaries),
            "num_without_mask": self.num_without_mask,
            "pixel_form": "streaming" if is_streaming else "exact",
            "pixel_error_bounds": error_bounds(levels, AUPRO_LIMITS) if is_streaming else dict.fromkeys(exact, 0.0),
            "intervals": intervals,
        }

    def draws(self, found: Mapping[str, float]) -> Draws:
        """For each metric its value on each bootstrap sample, about the values found by `compute`.

        The same seed and order of images gives the same samples for any maps.
        """
        return pixel_draws(PIXEL_METRICS, self._summaries, found, self.seed, self.resamples)

    def _levels(self) -> Levels:
        if self._histogram is None:
            room = Room(int(self._num_held[0]), np.dtype(np.float32))
            return pool(self._held, room, "pixel_auroc")
        self._fold(self._histogram)
        levels = self._histogram.levels()
        require_both(int(levels.num_good), len(levels.defective), "pixel_auroc", "pixels")
        return levels

    def _fold(self, histogram: ScoreHistogram) -> None:
        """Moves pixels from memory into the histogram, a few images at a time."""
        while self._held:
            taken = [self._held.pop()]
            while self._held and sum(len(image.good) for image in taken) < _FOLDED_AT_ONCE:
                taken.append(self._held.pop())
            histogram.add(taken)
        self._num_held[:] = 0
