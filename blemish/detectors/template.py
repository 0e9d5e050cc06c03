"""Template: how far each spot is from the mean of the good images there, in deviations; needs no backbone."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from blemish.detectors.base import DetectorInfo, FitRequest
from blemish.detectors.features import Embeddings, Head, fit_on_embeddings
from blemish.graph.builder import GraphBuilder
from blemish.graph.embedding import build_pixel_embedding
from blemish.graph.finish import finish
from blemish.graph.grid import cell_grid
from blemish.schema import Fit, Reduction


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Settings of `template`."""

    cell: Annotated[int, Field(ge=1, le=64, description="side of the squares of pixels that are averaged")] = 4
    noise: Annotated[float, Field(gt=0, le=255, description="gray levels added to each deviation")] = 4.0
    sigma: Annotated[float, Field(ge=0, le=64, description="smoothing of the map in input pixels")] = 4.0


INFO = DetectorInfo(
    name="template",
    summary="mean and deviation of the pixels at each spot; the baseline, and the pattern for a new detector",
    paper="",
    settings=Settings,
    most_folds=20,
    needs_backbone=False,
    is_positional=True,
)


def fit(request: FitRequest[Settings]) -> Fit:
    """See `blemish.detectors.base.FitFunction`; neither backbone nor seed is used."""
    settings, input_hw = request.settings, request.input_hw
    grid = cell_grid(input_hw, settings.cell)
    reduction = Reduction("max")

    def learn(embeddings: Embeddings) -> Head:
        means = embeddings.mean(axis=0)
        scales = 1 / (embeddings.std(axis=0) + np.float32(settings.noise))

        def append(builder: GraphBuilder, embedding: str) -> None:
            deviations = builder.op(
                "Mul", builder.op("Sub", embedding, builder.constant(means)), builder.constant(scales)
            )
            length = builder.op("ReduceL2", deviations, builder.constant(np.array([2], np.int64)), keepdims=0)
            finish(builder, length, grid, input_hw, sigma=settings.sigma, reduction=reduction)

        return Head(append)

    embedder = build_pixel_embedding(input_hw, settings.cell)
    return fit_on_embeddings(request, embedder, learn, reduction=reduction)
