"""PatchCore: distance of each patch embedding to a memory bank of good ones (Roth et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from blemish.detectors.base import DetectorInfo
from blemish.detectors.coreset import select_coreset
from blemish.detectors.features import Embeddings, Head, deepest_layers, fit_on_embeddings
from blemish.detectors.scaling import fit_scaling
from blemish.graph.builder import GraphBuilder
from blemish.graph.embedding import build_embedding, embedding_grid
from blemish.graph.finish import finish
from blemish.graph.neighbor import nearest_distance
from blemish.schema import Backbone, Fit, Image, Progress, Reduction


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Settings of `patchcore`."""

    layers: Annotated[tuple[str, ...], Field(description="backbone layers; empty: those of strides 8 and 16")] = ()
    pooling: Annotated[int, Field(ge=1, le=9, description="neighbors averaged, an odd number")] = 3
    bank_size: Annotated[int, Field(ge=1, le=200_000, description="most entries of the memory bank")] = 4000
    sigma: Annotated[float, Field(ge=0, le=64, description="smoothing of the map in input pixels")] = 4.0
    scaling: Annotated[
        Literal["none", "standardize", "whiten"], Field(description="how embedding channels are made comparable")
    ] = "standardize"


INFO = DetectorInfo(
    name="patchcore",
    summary="memory bank of patch embeddings, exact nearest neighbor",
    paper="Roth et al., Towards Total Recall in Industrial Anomaly Detection, CVPR 2022",
    settings=Settings,
)


def fit(
    images: Sequence[Image],
    settings: Settings,
    *,
    backbone: Backbone | None,
    seed: int,
    folds: Sequence[NDArray[np.intp]],
    progress: Progress,
) -> Fit:
    """See `blemish.detectors.base.FitFunction`; the choice of bank entries needs no seed."""
    assert backbone is not None
    input_hw = images[0].shape[:2]
    layers = settings.layers or deepest_layers(backbone, (8, 16))
    grid = embedding_grid(backbone, layers, input_hw)
    reduction = Reduction("max")

    def learn(embeddings: Embeddings) -> Head:
        points = embeddings.reshape(-1, embeddings.shape[-1])
        center, projection = fit_scaling(points, settings.scaling)
        scaled = np.matmul(points - center, projection, dtype=np.float32)
        bank = scaled[select_coreset(scaled, settings.bank_size, progress=progress)]

        def append(builder: GraphBuilder, embedding: str) -> None:
            centered = builder.op("Sub", embedding, builder.constant(center))
            comparable = builder.op("MatMul", centered, builder.constant(projection))
            distance = nearest_distance(builder, comparable, bank)
            finish(builder, distance, grid, input_hw, sigma=settings.sigma, reduction=reduction)

        return Head(append, {"num_bank_entries": len(bank), "channels": bank.shape[1]})

    embedder = build_embedding(backbone, layers, input_hw, settings.pooling)
    return fit_on_embeddings(images, embedder, learn, reduction=reduction, folds=folds, progress=progress)
