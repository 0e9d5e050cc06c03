"""A memory bank without some of its images, nearly as if it had been chosen without them, at a small part of the price.

Taking an image's entries out of a bank is not enough: greedy selection had skipped patches of other images because
these entries covered them already. So the gap is filled with as many patches of the other images, chosen from there on
in the same greedy way. What was scaled by all images stays scaled by all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blemish.detectors.bank import (
    NEIGHBORS_AROUND,
    Candidates,
    LayerBank,
    beside_its_square,
    comparison_table,
    order_by_units,
    spacing_units,
)
from blemish.detectors.coreset import CHUNK_ROWS
from blemish.detectors.features import Places

POOL_SIZE = 1024
"""Far candidates among which a gap's new entries are chosen, or twice as many as the entries, if that is more."""


@dataclass(frozen=True)
class FoldDistances:
    """For each candidate the squared distance to the bank's nearest entry, once its fold is left out and once not.

    `nearest` is the distance to the nearest entry of all, `nearest_fold` the fold of that entry's image (-1: none),
    `nearest_elsewhere` the distance to the nearest entry of any other fold.
    """

    nearest: NDArray[np.float32]
    nearest_fold: NDArray[np.intp]
    nearest_elsewhere: NDArray[np.float32]

    def without(self, fold: int) -> NDArray[np.float32]:
        """Squared distances to the nearest entry that is not of the fold."""
        return np.where(self.nearest_fold == fold, self.nearest_elsewhere, self.nearest)


def fold_numbers(folds: Sequence[Places], num_images: int) -> Places:
    """The number of each image's fold, -1 where it is in none.

    >>> fold_numbers([np.array([0, 2]), np.array([3])], 4).tolist()
    [0, -1, 0, 1]
    """
    numbers = np.full(num_images, -1, np.intp)
    for number, fold in enumerate(folds):
        numbers[fold] = number
    return numbers


def fold_distances(bank: LayerBank, candidates: Candidates, fold_of_image: Places) -> FoldDistances:
    """What `bank_without` needs for every fold, from one product of all candidates with all entries."""
    folds = fold_of_image[bank.owners]
    order = np.argsort(folds, kind="stable")
    starts = np.flatnonzero(np.diff(folds[order], prepend=-2))
    present = folds[order][starts]
    table = comparison_table(bank.entries[order])
    count = len(candidates.points)
    nearest, elsewhere = np.empty(count, np.float32), np.full(count, np.inf, np.float32)
    nearest_fold = np.empty(count, np.intp)
    for start in range(0, count, CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        of_folds = np.minimum.reduceat(beside_its_square(candidates.points[rows]) @ table, starts, axis=1)
        each = np.arange(len(of_folds))
        first = of_folds.argmin(axis=1)
        nearest[rows], nearest_fold[rows] = of_folds[each, first], present[first]
        of_folds[each, first] = np.inf
        elsewhere[rows] = of_folds.min(axis=1)
    return FoldDistances(nearest, nearest_fold, elsewhere)


def bank_without(
    bank: LayerBank,
    candidates: Candidates,
    distances: FoldDistances,
    fold_of_image: Places,
    fold: int,
    spacing: float,
) -> LayerBank:
    """The bank without the images of a fold, filled up with patches of the others to as many entries as before."""
    kept = fold_of_image[bank.owners] != fold
    if kept.all():
        return bank
    if not kept.any():
        raise ValueError("a fold holds all images of the bank: nothing is left to compare with")
    chosen = _fill_gap(candidates, distances, fold_of_image, fold, int((~kept).sum()))
    entries, owners = bank.entries[kept], bank.owners[kept]
    around = _spacings(candidates.points[chosen], candidates.owners[chosen], entries, owners)
    return order_by_units(
        LayerBank(
            bank.center,
            bank.projection,
            np.concatenate([entries, candidates.points[chosen]]),
            np.concatenate([owners, candidates.owners[chosen]]),
            np.concatenate([bank.spacings[kept], spacing_units(around, candidates.mean_spacing, spacing)]),
        )
    )


def _fill_gap(
    candidates: Candidates, distances: FoldDistances, fold_of_image: Places, fold: int, count: int
) -> NDArray[np.intp]:
    """At most `count` candidates of other images, each the farthest from the bank and those chosen before."""
    remaining = distances.without(fold)
    remaining[fold_of_image[candidates.owners] == fold] = -np.inf
    size = min(max(POOL_SIZE, 2 * count), len(remaining))
    pool = np.argpartition(remaining, len(remaining) - size)[-size:]
    pool = pool[np.argsort(-remaining[pool], kind="stable")]
    remaining, points = remaining[pool], candidates.points[pool]
    table = comparison_table(points)
    chosen: list[int] = []
    while len(chosen) < count:
        farthest = int(remaining.argmax())
        if not remaining[farthest] > 0:
            break
        chosen.append(farthest)
        np.minimum(remaining, (beside_its_square(points[farthest][None]) @ table)[0], out=remaining)
        remaining[farthest] = -np.inf
    return np.asarray(pool[chosen], np.intp)


def _spacings(
    points: NDArray[np.float32], owners: Places, entries: NDArray[np.float32], entry_owners: Places
) -> NDArray[np.float32]:
    """The mean distance of each point to the nearest entries of other images."""
    squared = beside_its_square(points) @ comparison_table(entries)
    squared[owners[:, None] == entry_owners] = np.inf
    count = min(NEIGHBORS_AROUND, squared.shape[1])
    nearest = np.partition(squared, count - 1, axis=1)[:, :count]
    known = np.isfinite(nearest)
    total = np.sqrt(np.maximum(np.where(known, nearest, 0), 1e-12)).sum(axis=1, where=known)
    return np.asarray(total / np.maximum(known.sum(axis=1), 1), np.float32)
