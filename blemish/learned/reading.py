"""From a learner's raw error map to the anomaly map and score of the one graph.

An autoencoder's error is large wherever a good part has edges or texture it cannot draw. So each position of the
smoothed error is compared with what good images show there: its center is taken away and its scale divided by.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from blemish.graph.grid import Grid, cell_grid, interpolation_matrix, smoothing_matrix
from blemish.learned.contract import Learner, pixels_of
from blemish.schema import Image, Reduction

NEGLIGIBLE = 0.3
"""Errors below this share of the typical one do not count: their logarithms are noise."""
NUM_TYPICAL = 8
"""How many batches tell the typical error."""
BATCH = 8
"""Images read at once when nothing is learned."""


class MapReader(nn.Module):
    """Brings a raw map on the grid `source` to the input's size, smoothed by `sigma` pixels, and reads it.

    Raw maps are [batch, height, width], or [batch, kinds, height, width] for several kinds of error. Each position of
    each kind is compared with what is usual there (`learn_usual`; until then with 0 and 1); the anomaly map is the mean
    over the kinds, the score the map's reduction. Resampling and smoothing are linear along rows and columns: two
    matrix products.

    With `logarithm` the comparison is of logarithms: errors of good images spread by factors, not by amounts.
    """

    rows: Tensor
    columns: Tensor
    center: Tensor
    scale: Tensor
    typical: Tensor

    def __init__(
        self,
        source: Grid,
        input_hw: tuple[int, int],
        *,
        sigma: float,
        reduction: Reduction,
        logarithm: bool = False,
    ) -> None:
        super().__init__()
        self.reduction, self.logarithm = reduction, logarithm
        target = cell_grid(input_hw, 1)
        rows, columns = (
            smoothing_matrix(target.centers(axis), sigma)
            @ interpolation_matrix(source.centers(axis), target.centers(axis))
            for axis in (0, 1)
        )
        self.register_buffer("rows", torch.from_numpy(rows.astype(np.float32)))
        self.register_buffer("columns", torch.from_numpy(columns.T.astype(np.float32)))
        self.register_buffer("center", torch.zeros(input_hw))
        self.register_buffer("scale", torch.ones(input_hw))
        self.register_buffer("typical", torch.ones(()))

    def smooth(self, raw: Tensor) -> Tensor:
        """The raw map at the input's size, smoothed."""
        return self.rows @ raw.float() @ self.columns

    def level(self, raw: Tensor) -> Tensor:
        """What is compared with the usual: the smoothed map, or its logarithm above a part of the typical error."""
        smooth = self.smooth(raw)
        return torch.log(smooth.clamp_min(0) / self.typical + NEGLIGIBLE) if self.logarithm else smooth

    def forward(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        anomaly_map = (self.level(raw) - self.center) / self.scale
        if anomaly_map.ndim == 4:
            anomaly_map = anomaly_map.mean(1)
        if self.reduction.kind == "max":
            return anomaly_map, anomaly_map.flatten(1).amax(1)
        return anomaly_map, anomaly_map.flatten(1).topk(self.reduction.count, dim=1).values.mean(1)

    def learn_usual(self, raw_maps: Iterable[Tensor]) -> None:
        """Sets center and scale to mean and standard deviation of what good images show (batches of raw maps).

        The variance of a position leans on the mean variance of all: a few images tell little about one position.
        """
        with torch.no_grad():
            if self.logarithm:
                remaining = iter(raw_maps)
                first = list(itertools.islice(remaining, NUM_TYPICAL))
                mean_error = torch.cat([raw.float().flatten(-2).mean(-1) for raw in first]).mean(0)
                self.typical = mean_error.clamp_min(1e-8)[..., None, None]
                raw_maps = itertools.chain(first, remaining)
            count, total, squares = 0, torch.zeros(()), torch.zeros(())
            for raw in raw_maps:
                level = self.level(raw).double()
                count += len(level)
                total = total + level.sum(0)
                squares = squares + level.square().sum(0)
            mean = total / count
            variance = (squares / count - mean.square()).clamp_min(0)
            overall = variance.mean((-2, -1), keepdim=True)
            leaning = (count * variance + PRIOR_IMAGES * overall) / (count + PRIOR_IMAGES)
            # Constant images have no error to scale by.
            floor = 1e-6 + 1e-3 * mean.abs().mean((-2, -1), keepdim=True)
            self.center = mean.float()
            self.scale = torch.maximum(leaning.sqrt(), floor).float()


PRIOR_IMAGES = 10
"""How many images' worth of trust the mean variance over all positions gets against a position's own variance."""


class OneGraph(nn.Module):
    """Learner and reader as one: uint8 [batch, height, width, 3] to anomaly map, anomaly score (, reconstruction)."""

    def __init__(self, learner: Learner, reader: MapReader) -> None:
        super().__init__()
        self.learner, self.reader = learner, reader

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        raw, reconstruction = self.learner.read(image.permute(0, 3, 1, 2).to(torch.float32) / 255)
        outputs = self.reader(raw)
        if reconstruction is None:
            return tuple(outputs)
        pixels = (reconstruction.clamp(0, 1) * 255).round().to(torch.uint8)
        return (*outputs, pixels.permute(0, 2, 3, 1))


def raw_maps(learner: Learner, images: Sequence[Image]) -> Iterable[Tensor]:
    """The learner's raw maps of the images, in batches."""
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            yield learner.read(pixels_of([images[index] for index in range(start, min(start + BATCH, len(images)))]))[0]
