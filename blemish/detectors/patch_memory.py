"""What PatchCore learns of good images, and the same without some of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from blemish.detectors.bank import (
    Candidates,
    LayerBank,
    WitnessDistances,
    fit_bank,
    witness_distances,
)
from blemish.detectors.features import Embeddings, Places
from blemish.detectors.leave_out import bank_without, fold_distances, fold_numbers
from blemish.graph.embedding import PackedLayer
from blemish.schema import Progress


@dataclass(frozen=True)
class PatchMemory:
    """What is learned of good images: for each layer a bank and what it was chosen from; what is usual of distances."""

    banks: tuple[LayerBank, ...]
    candidates: tuple[Candidates, ...]
    witnesses: WitnessDistances
    num_images: int


def learn_memory(
    embeddings: Embeddings,
    places: Places,
    layers: Sequence[PackedLayer],
    covers: Sequence[Places],
    *,
    num_copies: int,
    bank_size: int,
    whitening: float,
    spacing: float,
    progress: Progress,
) -> PatchMemory:
    """What is learned of the images at `places` and of their `num_copies` turned copies, which follow all images.

    `covers` are those of `cover_images`, for each layer.
    """
    num_images = len(embeddings) // (1 + num_copies)
    sources = np.concatenate([places + turn * num_images for turn in range(1 + num_copies)])
    found = [
        fit_bank(embeddings, sources, layer, cover, bank_size, whitening, spacing, progress, num_images=num_images)
        for layer, cover in zip(layers, covers, strict=True)
    ]
    banks, candidates = zip(*found, strict=True)
    return PatchMemory(banks, candidates, witness_distances(embeddings, places, layers, banks, progress), num_images)


def memories_without(learned: PatchMemory, folds: Sequence[Places], spacing: float) -> Iterator[PatchMemory]:
    """What would have been learned without the images of each fold."""
    fold_of_image = fold_numbers(folds, learned.num_images)
    layers = [
        (bank, candidates, fold_distances(bank, candidates, fold_of_image))
        for bank, candidates in zip(learned.banks, learned.candidates, strict=True)
    ]
    for fold in range(len(folds)):
        banks = tuple(bank_without(*layer, fold_of_image, fold, spacing) for layer in layers)
        witnesses = learned.witnesses.without(np.flatnonzero(fold_of_image[learned.witnesses.places] == fold))
        yield dataclasses.replace(learned, banks=banks, witnesses=witnesses)
