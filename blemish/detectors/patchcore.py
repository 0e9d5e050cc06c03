"""PatchCore: distance of each patch embedding to a memory bank of good ones (Roth et al., CVPR 2022).

Four things differ from the paper; docs/accuracy.md tells what each of them brings.

- Each layer has a bank of its own and is compared on its own grid; the distances, in units of what is usual for good
  patches and weighted by the layer's resolution, are added up. That is quicker, since the deep layers have few
  positions, and keeps fine layers from being drowned by deep ones with their many channels.
- A bank is chosen from patches that cover each image by itself, so that what only few images show is not missed.
- Where good patches lie far apart, distances count less: in units of the spacing around the nearest entry.
- Each position is measured by what is usual there: edges and borders of good parts vary more than plain surface.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from blemish.detectors.bank import (
    LayerBank,
    candidates_of_each,
    cover_images,
    layer_weights,
    usual_distances,
)
from blemish.detectors.base import DetectorInfo, FitRequest, Preset
from blemish.detectors.features import Embeddings, Head, Places, deepest_layers, fit_on_places
from blemish.detectors.patch_memory import PatchMemory, learn_memory, memories_without
from blemish.detectors.positions import usual_maxima
from blemish.detectors.symmetry import Symmetry, symmetric_copies, with_turned_maps
from blemish.detectors.taught import taught_head
from blemish.graph.builder import GraphBuilder
from blemish.graph.embedding import PackedLayer, build_packed_embedding, packed_layers, unpack_layer
from blemish.graph.finish import finish_sum
from blemish.graph.grid import on_grid
from blemish.graph.neighbor import nearest_distance
from blemish.schema import Fit, Reduction


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Settings:
    """Settings of `patchcore`."""

    layers: Annotated[tuple[str, ...], Field(description="backbone layers; empty: those of strides 8 and 16")] = ()
    pooling: Annotated[int, Field(ge=1, le=9, description="neighbors averaged, an odd number")] = 3
    bank_size: Annotated[int, Field(ge=1, le=200_000, description="most entries of each layer's memory bank")] = 4000
    whitening: Annotated[
        float, Field(ge=0, le=1, description="how far channels are made to vary alike: 0 not at all, 1 fully")
    ] = 0.5
    spacing: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="how far distances count less where good patches lie far apart: 0 not at all, 1 fully",
        ),
    ] = 1.0
    by_position: Annotated[
        bool, Field(description="measure each position by what is usual there in good parts; with tiles off")
    ] = True
    symmetries: Annotated[
        tuple[Symmetry, ...], Field(description="turned and mirrored copies of good images that count as good too")
    ] = ()
    sigma: Annotated[float, Field(ge=0, le=64, description="smoothing of the map in input pixels")] = 4.0


REDUCTION = Reduction("max")

INFO = DetectorInfo(
    name="patchcore",
    summary="memory banks of patch embeddings, exact nearest neighbor",
    paper="Roth et al., Towards Total Recall in Industrial Anomaly Detection, CVPR 2022",
    settings=Settings,
    learns_from_defects=True,
    most_folds=50,
    presets={
        "fast": Preset("a small bank and a small input, for short cycles", 224, {"bank_size": 1000}),
        "balanced": Preset("what is used without a preset"),
        "accurate": Preset("a larger input, for small defects", 512),
    },
    on_tiles={"by_position": False},
)


def fit(request: FitRequest[Settings]) -> Fit:
    """See `blemish.detectors.base.FitFunction`; the seed draws patches where defects are shown, else nothing."""
    settings, backbone, input_hw = request.settings, request.backbone, request.input_hw
    assert backbone is not None
    layers = settings.layers or deepest_layers(backbone, (8, 16))
    embedder = build_packed_embedding(backbone, layers, input_hw, settings.pooling)
    packed = packed_layers(backbone, layers, input_hw)
    copies = symmetric_copies(request.images, settings.symmetries)
    covers: list[Places] = []

    def learn(embeddings: Embeddings, places: Places) -> Head:
        if not covers:  # the cover of an image depends on nothing else: all fits share it
            held_share = max((len(fold) for fold in request.folds), default=0) / len(request.images)
            count = candidates_of_each(int(len(embeddings) * (1 - held_share)))
            covers.extend(cover_images(embeddings, layer, count, request.report) for layer in packed)
        memory = learn_memory(
            embeddings,
            places,
            packed,
            covers,
            num_copies=len(copies),
            bank_size=settings.bank_size,
            whitening=settings.whitening,
            spacing=settings.spacing,
            progress=request.report,
        )
        return dataclasses.replace(
            _head(memory, packed, settings, input_hw),
            without=lambda folds: (
                _head(part, packed, settings, input_hw) for part in memories_without(memory, folds, settings.spacing)
            ),
        )

    teach = functools.partial(taught_head, request, packed, REDUCTION) if len(request.defects.images) else None
    return fit_on_places(request, embedder, learn, copies=copies, reduction=REDUCTION, teach=teach)


def _head(memory: PatchMemory, layers: Sequence[PackedLayer], settings: Settings, input_hw: tuple[int, int]) -> Head:
    finest = min((layer.grid for layer in layers), key=lambda grid: grid.stride)
    units, maps = usual_distances(memory.witnesses, layers, memory.banks)
    level, spread = np.zeros_like(maps[0]), np.ones_like(maps[0])
    if settings.by_position:
        level, spread = usual_maxima(with_turned_maps(maps, settings.symmetries), len(maps))

    def append(builder: GraphBuilder, embedding: str) -> None:
        maps = []
        for layer, bank, unit, weight in zip(layers, memory.banks, units, layer_weights(layers), strict=True):
            scale = weight / unit / on_grid(spread, finest, layer.grid)
            distance = distance_to_bank(builder, unpack_layer(builder, embedding, layer), bank)
            # On the grid: OpenVINO computes the product of a batch with one value for each position wrongly.
            grid = builder.op("Reshape", distance, builder.constant(np.array([-1, *layer.grid.hw], np.int64)))
            maps.append((builder.op("Mul", grid, builder.constant(scale[None].astype(np.float32))), layer.grid))
        if settings.by_position:
            maps.append((builder.constant((level.mean() - level / spread).astype(np.float32)), finest))
        finish_sum(builder, maps, input_hw, sigma=settings.sigma, reduction=REDUCTION)

    return Head(append, {"num_bank_entries": [len(bank.entries) for bank in memory.banks]})


def distance_to_bank(builder: GraphBuilder, embedding: str, bank: LayerBank) -> str:
    """The distance of each position to the bank's entries: [batch, positions, channels] to [batch, positions]."""
    centered = builder.op("Sub", embedding, builder.constant(bank.center))
    scaled = builder.op("MatMul", centered, builder.constant(bank.projection))
    return nearest_distance(builder, scaled, bank.entries, bank.spacings)
