"""PatchCore: distance of each patch embedding to a memory bank of good ones (Roth et al., CVPR 2022).

Unlike the paper, which joins the layers into one embedding, each layer has a bank of its own and is compared on its own
grid; the distances, in units of how far the entries of a bank lie apart, are added up. That is quicker, since the deep
layers have few positions, and keeps fine layers from being drowned by deep ones with their many channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from blemish.detectors.base import DetectorInfo
from blemish.detectors.coreset import select_coreset
from blemish.detectors.features import Embeddings, Head, deepest_layers, fit_on_embeddings
from blemish.detectors.scaling import fit_scaling
from blemish.graph.builder import GraphBuilder
from blemish.graph.embedding import build_packed_embedding, packed_layers, unpack_layer
from blemish.graph.finish import finish_sum
from blemish.graph.neighbor import nearest_distance
from blemish.schema import Backbone, Fit, Image, Progress, Reduction

MAX_CANDIDATES = 400_000
"""Patches that a bank is chosen from; beyond that a random part of them, drawn by the seed."""
NUM_COMPARED = 2000
"""Bank entries whose mean distance to their nearest neighbor is the unit of a layer's distances."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Settings of `patchcore`."""

    layers: Annotated[tuple[str, ...], Field(description="backbone layers; empty: those of strides 8 and 16")] = ()
    pooling: Annotated[int, Field(ge=1, le=9, description="neighbors averaged, an odd number")] = 3
    bank_size: Annotated[int, Field(ge=1, le=200_000, description="most entries of each layer's memory bank")] = 4000
    whitening: Annotated[
        float, Field(ge=0, le=1, description="how far channels are made to vary alike: 0 not at all, 1 fully")
    ] = 0.5
    sigma: Annotated[float, Field(ge=0, le=64, description="smoothing of the map in input pixels")] = 4.0


INFO = DetectorInfo(
    name="patchcore",
    summary="memory banks of patch embeddings, exact nearest neighbor",
    paper="Roth et al., Towards Total Recall in Industrial Anomaly Detection, CVPR 2022",
    settings=Settings,
)


@dataclasses.dataclass(frozen=True)
class LayerBank:
    """What is kept of one layer: scaled embeddings of good patches, the scaling, and the usual distance to them."""

    center: NDArray[np.float32]
    projection: NDArray[np.float32]
    entries: NDArray[np.float32]
    usual_distance: float


def fit(
    images: Sequence[Image],
    settings: Settings,
    *,
    backbone: Backbone | None,
    seed: int,
    folds: Sequence[NDArray[np.intp]],
    progress: Progress,
) -> Fit:
    """See `blemish.detectors.base.FitFunction`; the seed draws candidates where there are very many patches."""
    assert backbone is not None
    input_hw = images[0].shape[:2]
    layers = settings.layers or deepest_layers(backbone, (8, 16))
    embedder = build_packed_embedding(backbone, layers, input_hw, settings.pooling)
    packed = packed_layers(backbone, layers, input_hw)
    reduction = Reduction("max")

    def learn(embeddings: Embeddings) -> Head:
        banks = [
            fit_bank(embeddings[:, layer.places].reshape(-1, layer.channels), settings, seed, progress)
            for layer in packed
        ]

        def append(builder: GraphBuilder, embedding: str) -> None:
            distances = [
                (append_distance(builder, unpack_layer(builder, embedding, layer), bank, len(banks)), layer.grid)
                for layer, bank in zip(packed, banks, strict=True)
            ]
            finish_sum(builder, distances, input_hw, sigma=settings.sigma, reduction=reduction)

        return Head(append, {"num_bank_entries": [len(bank.entries) for bank in banks]})

    return fit_on_embeddings(images, embedder, learn, reduction=reduction, folds=folds, progress=progress)


def fit_bank(points: NDArray[np.float32], settings: Settings, seed: int, progress: Progress) -> LayerBank:
    """The bank of one layer from its embeddings (n, channels) of good patches."""
    if len(points) > MAX_CANDIDATES:
        chosen = np.random.default_rng(seed).choice(len(points), MAX_CANDIDATES, replace=False)
        points = points[np.sort(chosen)]
    center, projection = fit_scaling(points, settings.whitening)
    scaled = np.matmul(points - center, projection, dtype=np.float32)
    entries = scaled[select_coreset(scaled, settings.bank_size, progress=progress)]
    return LayerBank(center, projection, entries, usual_distance(entries))


def usual_distance(entries: NDArray[np.float32]) -> float:
    """The mean distance of a bank entry (n, c) to its nearest other: how densely the bank covers the good patches."""
    some = entries[np.linspace(0, len(entries) - 1, min(NUM_COMPARED, len(entries))).astype(np.intp)]
    squares = np.einsum("ij,ij->i", some, some)[:, None] + np.einsum("ij,ij->i", entries, entries)
    squares -= 2 * some @ entries.T
    nearest = np.sqrt(np.maximum(np.partition(squares, 1, axis=1)[:, 1], 0)) if len(entries) > 1 else np.zeros(1)
    return max(float(nearest.mean()), 1e-6)


def append_distance(builder: GraphBuilder, embedding: str, bank: LayerBank, num_layers: int) -> str:
    """The distance of each position to the bank, in units of the usual one, over the number of layers."""
    centered = builder.op("Sub", embedding, builder.constant(bank.center))
    scaled = builder.op("MatMul", centered, builder.constant(bank.projection))
    distance = nearest_distance(builder, scaled, bank.entries)
    unit = np.float32(1 / (bank.usual_distance * num_layers))
    return builder.op("Mul", distance, builder.constant(unit))
