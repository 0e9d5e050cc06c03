"""How far cross-fitting, blocks and a held-out split differ in what they promise and in what they keep.

    python benchmarks/promise_simulation.py -o benchmarks/results/promise_simulation.json

The detector is the smallest that behaves like a memory bank: its score is the distance to the nearest of the fitted
good parts, in eight dimensions. For each number of good images, many plants are drawn. Each calibrates in all ways with
the promise of the package, and its true false reject rate is measured on many further good parts.

- `average`: the stated mean rate, and `mean_rate` the mean true rate over the plants.
- `failed`: the share of plants whose true rate is above the stated 95 % limit; 5 % are allowed.
- `found`: the share of defects over the threshold; a defect is a good part moved by 6.

`cross` and `split` find images of one part as the package does, by their distances. The orders: `mixed` (heavy
tails), `tied` (rounded scores), `batches` (ten parts in a row share an offset, future parts come from other batches:
this breaks the assumption), `one kind` (a tenth of the parts, now and in future, are of a kind that stands together
in the order of names), `several images` (four images of each part in a row; future parts are new ones).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import origin, write_record

from blemish.datasets.groups import Groups, found_groups, group_folds
from blemish.datasets.split import block_folds, holdout_split
from blemish.decisions.promise import make_promise

DIMENSIONS = 8
NUM_FOLDS = 50
HELD_OUT = 0.25
NUM_PLANTS = 100
NUM_FUTURE = 2000
NUM_DEFECTS, DAMAGE = 1000, 6.0
NUM_GOOD = (20, 50, 100, 209, 400, 1000)
ORDERS = ("mixed", "tied", "batches", "one kind", "several images")
BATCH_SIZE = 10
IMAGES_OF_A_PART = 4
KIND = np.full(DIMENSIONS, 3.0)
WANTED = 0.05

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Scores:
    """Scores of good images by models that did not see them, their shares of parts, and the final model."""

    scores: Array
    shares: NDArray[np.float64]
    model: Callable[[Array], Array]


def draw(count: int, rng: np.random.Generator, order: str) -> Array:
    """Parts in the order of production, see the head of this file."""
    parts = rng.standard_t(5, (count, DIMENSIONS))
    if order == "batches":
        offsets = rng.normal(0, 1, (count // BATCH_SIZE + 1, DIMENSIONS))
        parts += offsets[np.arange(count) // BATCH_SIZE]
    if order == "several images":
        part = rng.standard_t(5, (count // IMAGES_OF_A_PART + 1, DIMENSIONS))
        parts = part[np.arange(count) // IMAGES_OF_A_PART] + rng.normal(0, 0.1, (count, DIMENSIONS))
    if order == "one kind":
        size = count // 10
        start = rng.integers(count - size + 1)
        parts[start : start + size] += KIND
    return parts.astype(np.float32)


def damage(parts: Array, rng: np.random.Generator) -> Array:
    directions = rng.normal(size=parts.shape)
    moved: Array = parts + np.float32(DAMAGE) * (directions / np.linalg.norm(directions, axis=1, keepdims=True))
    return moved.astype(np.float32)


def nearest(bank: Array, parts: Array) -> Array:
    squared = (parts**2).sum(1)[:, None] - 2 * parts @ bank.T + (bank**2).sum(1)
    distances: Array = np.sqrt(np.maximum(squared.min(axis=1), 0))
    return distances


def held_out(good: Array, folds: Sequence[NDArray[np.intp]], shares: NDArray[np.float64]) -> Scores:
    scores = np.empty(len(good), np.float32)
    for fold in folds:
        scores[fold] = nearest(np.delete(good, fold, axis=0), good[fold])
    return Scores(scores, shares, lambda parts: nearest(good, parts))


def parts_of(good: Array) -> Groups:
    squares = (good**2).sum(axis=1)
    squared = np.maximum(squares[:, None] + squares - 2 * good @ good.T, 0)
    np.fill_diagonal(squared, np.inf)
    return found_groups([squared])


def cross(good: Array, rng: np.random.Generator) -> Scores:
    groups = parts_of(good)
    return held_out(good, group_folds(groups, NUM_FOLDS, int(rng.integers(1_000_000))), groups.shares())


def blocks(good: Array, rng: np.random.Generator) -> Scores:
    return held_out(good, block_folds(len(good), 5), np.ones(len(good)))


def split(good: Array, rng: np.random.Generator) -> Scores:
    groups = parts_of(good)
    kept, held = holdout_split(groups, HELD_OUT, int(rng.integers(1_000_000)))
    return Scores(nearest(good[kept], good[held]), groups.shares()[held], lambda parts: nearest(good[kept], parts))


METHODS: dict[str, Callable[[Array, np.random.Generator], Scores]] = {"cross": cross, "blocks": blocks, "split": split}


def measure(num_good: int, method: str, order: str) -> dict[str, Any]:
    rates, found, stated, failed = [], [], [], 0
    for plant in range(NUM_PLANTS):
        rng = np.random.default_rng((num_good, plant))
        good, future = draw(num_good, rng, order), draw(NUM_FUTURE, rng, order)
        made = METHODS[method](good, rng)

        def judged(parts: Array, made: Scores = made) -> Array:
            return np.round(made.model(parts), 1) if order == "tied" else made.model(parts)

        scores = np.round(made.scores, 1) if order == "tied" else made.scores
        ranks = np.argsort(-scores, kind="stable")
        promise = make_promise(len(scores), WANTED, shares=made.shares[ranks])
        threshold = scores[ranks[promise.num_over]]
        rates.append(float((judged(future) > threshold).mean()))
        found.append(float((judged(damage(rng.choice(future, NUM_DEFECTS), rng)) > threshold).mean()))
        stated.append(promise.average_rate)
        failed += rates[-1] > promise.limit
    return {
        "num_good": num_good,
        "method": method,
        "order": order,
        "average": round(float(np.mean(stated)), 4),
        "mean_rate": round(float(np.mean(rates)), 4),
        "error_of_mean": round(float(np.std(rates) / NUM_PLANTS**0.5), 4),
        "failed": round(failed / NUM_PLANTS, 4),
        "found": round(float(np.mean(found)), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    output = parser.parse_args().output
    rows = []
    for order in ORDERS:
        for num_good in NUM_GOOD:
            for method in METHODS:
                rows.append(measure(num_good, method, order))
                print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    record = {
        **origin(),
        "data": "random numbers",
        "plants": NUM_PLANTS,
        "future_parts": NUM_FUTURE,
        "wanted": WANTED,
        "rows": rows,
    }
    write_record(output, record)


if __name__ == "__main__":
    main()
