"""How far cross-fitting and a held-out split differ in what they promise and in what they keep.

    python benchmarks/promise_simulation.py -o benchmarks/results/promise_simulation.json

The detector is the smallest that behaves like a memory bank: its score is the distance to the nearest of the fitted
good parts, in eight dimensions with heavy tails. For each number of good parts, many plants are drawn. Each calibrates
in all ways with the promise of the package and its true false reject rate is measured on many further good parts.

- `promised`: the rate that the good parts support, at 95 % confidence.
- `mean_rate`: the mean true false reject rate over the plants.
- `failed`: the share of plants whose true rate is above the promised one; an exact promise fails in at most 5 %.

- `found`: the share of defects over the threshold; a defect is a good part moved by 6.

Two orders break the assumption on purpose. In `batches` good parts come in batches with a common offset, as parts of
one lot or one day do, and future parts come from other batches. Random folds then score parts with their own batch in
the bank; folds of blocks and the split, which is one block of neighbors, mostly do not. In `one kind` a tenth of the
good parts, now and in future, are of a kind of their own, and these stand together in the order of names. A fold that
is one block then holds out most of them at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import origin, write_record

from blemish.datasets.split import block_folds, holdout_split
from blemish.decisions.promise import make_promise

DIMENSIONS = 8
NUM_FOLDS = 5
HELD_OUT = 0.25
NUM_PLANTS = 400
NUM_FUTURE = 4000
NUM_DEFECTS, DAMAGE = 1000, 6.0
NUM_GOOD = (10, 20, 50, 100, 209, 400)
ORDERS = ("mixed", "batches", "one kind")
BATCH_SIZE = 10
KIND = np.full(DIMENSIONS, 3.0)
WANTED, CONFIDENCE = 0.01, 0.95

Array = NDArray[np.float32]
Scores = tuple[Array, Callable[[Array], Array]]
"""Scores of good parts by models that did not see them, and the final model."""


def draw(count: int, rng: np.random.Generator, order: str) -> Array:
    """Parts in the order of production, see the head of this file."""
    parts = rng.standard_t(5, (count, DIMENSIONS))
    if order == "batches":
        offsets = rng.normal(0, 1, (count // BATCH_SIZE + 1, DIMENSIONS))
        parts += offsets[np.arange(count) // BATCH_SIZE]
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


def cross(good: Array, folds: list[NDArray[np.intp]]) -> Scores:
    scores = np.empty(len(good), np.float32)
    for fold in folds:
        scores[fold] = nearest(np.delete(good, fold, axis=0), good[fold])
    return scores, lambda parts: nearest(good, parts)


def blocks(good: Array, rng: np.random.Generator) -> Scores:
    return cross(good, list(block_folds(len(good), NUM_FOLDS)))


def single_blocks(good: Array, rng: np.random.Generator) -> Scores:
    return cross(good, np.array_split(np.arange(len(good)), NUM_FOLDS))


def shuffled(good: Array, rng: np.random.Generator) -> Scores:
    return cross(good, np.array_split(rng.permutation(len(good)), NUM_FOLDS))


def split(good: Array, rng: np.random.Generator) -> Scores:
    kept, held = holdout_split(len(good), HELD_OUT, int(rng.integers(1_000_000)))
    return nearest(good[kept], good[held]), lambda parts: nearest(good[kept], parts)


METHODS: dict[str, Callable[[Array, np.random.Generator], Scores]] = {
    "cross": blocks,
    "cross, one block a fold": single_blocks,
    "cross, random folds": shuffled,
    "split": split,
}


def measure(num_good: int, method: str, order: str) -> dict[str, Any]:
    rates, found, failed, promised = [], [], 0, 0.0
    for plant in range(NUM_PLANTS):
        rng = np.random.default_rng((num_good, plant))
        good, future = draw(num_good, rng, order), draw(NUM_FUTURE, rng, order)
        scores, model = METHODS[method](good, rng)
        promise = make_promise(len(scores), WANTED, CONFIDENCE)
        threshold = np.sort(scores)[len(scores) - 1 - promise.num_over]
        rates.append(float((model(future) > threshold).mean()))
        found.append(float((model(damage(rng.choice(future, NUM_DEFECTS), rng)) > threshold).mean()))
        promised = WANTED if promise.is_kept else promise.rate
        failed += rates[-1] > promised
    return {
        "num_good": num_good,
        "method": method,
        "order": order,
        "promised": round(promised, 4),
        "mean_rate": round(float(np.mean(rates)), 4),
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
        "confidence": CONFIDENCE,
        "rows": rows,
    }
    write_record(output, record)


if __name__ == "__main__":
    main()
