"""PaDiM: a Gaussian of patch embeddings at each position (Defard et al., ICPR 2020)."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from blemish.detectors.base import DetectorInfo, FitRequest
from blemish.detectors.features import Embeddings, Head, deepest_layers, fit_on_embeddings
from blemish.graph.builder import GraphBuilder
from blemish.graph.embedding import build_embedding, embedding_grid
from blemish.graph.finish import finish
from blemish.graph.gaussian import mahalanobis
from blemish.schema import Fit, Reduction

TOGETHER = 64
"""Positions whose covariances are computed at a time."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Settings of `padim`."""

    layers: Annotated[tuple[str, ...], Field(description="backbone layers; empty: those of strides 8 and 16")] = ()
    channels: Annotated[int, Field(ge=2, le=1000, description="embedding channels kept, drawn at random")] = 48
    covariance: Annotated[
        Literal["position", "shared"],
        Field(description="one covariance for each position, or one for all (a bundle of a few MB)"),
    ] = "position"
    regularization: Annotated[
        float, Field(gt=0, le=1, description="share of the mean variance added to each channel's variance")
    ] = 0.01
    sigma: Annotated[float, Field(ge=0, le=64, description="smoothing of the map in input pixels")] = 4.0


INFO = DetectorInfo(
    name="padim",
    summary="one Gaussian of patch embeddings for each position; for parts that lie the same way each time",
    paper="Defard et al., PaDiM: a Patch Distribution Modeling Framework, ICPR 2020",
    settings=Settings,
    most_folds=20,
    is_positional=True,
    min_images=4,
)


def fit(request: FitRequest[Settings]) -> Fit:
    """See `blemish.detectors.base.FitFunction`; the seed draws the channels."""
    settings, backbone, input_hw = request.settings, request.backbone, request.input_hw
    assert backbone is not None
    layers = settings.layers or deepest_layers(backbone, (8, 16))
    grid = embedding_grid(backbone, layers, input_hw)
    reduction = Reduction("max")
    total = sum(backbone.layer(name).channels for name in layers)
    kept = np.sort(np.random.default_rng(request.seed).permutation(total)[: settings.channels])

    def learn(embeddings: Embeddings) -> Head:
        means, whiteners = fit_gaussians(embeddings, settings.covariance, settings.regularization)

        def append(builder: GraphBuilder, embedding: str) -> None:
            distance = mahalanobis(builder, embedding, means, whiteners)
            finish(builder, distance, grid, input_hw, sigma=settings.sigma, reduction=reduction)

        return Head(append, {"channels": len(kept)})

    embedder = build_embedding(backbone, layers, input_hw, pooling=1, kept=kept)
    return fit_on_embeddings(request, embedder, learn, reduction=reduction)


def fit_gaussians(
    embeddings: Embeddings, covariance: Literal["position", "shared"], regularization: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Means (positions, c) and whiteners, (positions, c, c) or (c, c) if shared, of embeddings (n, positions, c)."""
    num_images, num_positions, channels = embeddings.shape
    means = embeddings.mean(axis=0, dtype=np.float64).astype(np.float32)
    covariances = np.empty((num_positions, channels, channels))
    for start in range(0, num_positions, TOGETHER):  # all at once would take the memory of the embeddings again
        part = slice(start, start + TOGETHER)
        by_position = (embeddings[:, part] - means[part]).transpose(1, 2, 0)
        covariances[part] = by_position @ by_position.transpose(0, 2, 1)
    if covariance == "shared":
        covariances = covariances.sum(axis=0, keepdims=True) / (num_images * num_positions)
    else:
        covariances /= max(num_images - 1, 1)
    mean_variance = np.trace(covariances, axis1=1, axis2=2).mean() / channels
    covariances += (regularization * mean_variance + 1e-9) * np.eye(channels)
    # inverse = L^-T L^-1 with covariance = L L^T, so L^-T whitens a row vector from the right
    whiteners = np.linalg.inv(np.linalg.cholesky(covariances)).transpose(0, 2, 1).astype(np.float32)
    return means, np.ascontiguousarray(whiteners[0] if covariance == "shared" else whiteners)
