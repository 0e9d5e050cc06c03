"""What people have shown, added to a detector on frozen features: a second map upon the unsupervised one.

The unsupervised map stays as it is. A small network on the same patch embeddings gives a second one, from shown defects
against good parts. Both are judged by what they say of good images that were held out. Where the network is as sure of
a defect as it is on one good image in ten, its evidence begins to count; from there on it is added, in a unit that
makes both maps get rarer among good parts at the same rate. So what looks like nothing shown is judged as before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.detectors.base import Defects, FitRequest
from blemish.detectors.features import Embeddings, Head, Places, Taught, head_graph
from blemish.detectors.leave_out import fold_numbers
from blemish.detectors.patch_network import (
    PatchNetwork,
    Scaling,
    Seen,
    finest_grid,
    patches_of,
    train_network,
)
from blemish.graph.builder import GraphBuilder
from blemish.graph.embedding import PackedLayer
from blemish.graph.finish import reduce_score
from blemish.graph.grid import Grid, cell_grid, on_grid, resample
from blemish.runtime.onnx_runner import GraphRunner
from blemish.runtime.pipeline import map_in_order
from blemish.schema import HeldOut, Mask, Reduction

NUM_GROUPS = 4
"""Groups of images whose evidence comes from a network trained without them."""
DRAWN_OF_IMAGE, HARD_OF_IMAGE = 40, 20
"""Patches of each good image that a network learns from: drawn ones, then those it took for defects at first."""
COVERED = 0.25
"""A position is defective where the mask covers this share of its cell, or as much as any cell."""
TAIL_SHARE = 0.1
"""Share of the good images, those with the largest scores, whose scores tell how quickly larger ones get rarer."""
SIGMA = 4.0
"""Smoothing of the evidence in input pixels."""
NO_EVIDENCE = -100.0
"""Of the only shown image: what is learned without it is nothing."""
MOST_WITHOUT_MASK = 16
"""Most positions of one shown defect whose place nobody has marked."""


@dataclass(frozen=True)
class Join:
    """What evidence adds to the unsupervised map: `level + slope * evidence`, where that is over 0."""

    level: float
    slope: float

    def scale(self, evidence: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self.level + self.slope * evidence, np.float32)


def equal_rarity(unsupervised: NDArray[np.float32], evidence: NDArray[np.float32]) -> Join:
    """The join of two maps, from the largest value of each on good images that were held out.

    The `TAIL_SHARE` largest of these get rarer exponentially. The evidence counts from where its tail begins, in the
    unit in which its tail falls as that of the unsupervised map does.

    >>> scores = np.linspace(0, 1, 201, dtype=np.float32)
    >>> join = equal_rarity(scores, 10 * scores)
    >>> round(join.slope, 3), round(join.level, 3)
    (0.1, -0.9)
    """
    spread = _tail(unsupervised)[1]
    start, other_spread = _tail(evidence)
    slope = spread / other_spread
    return Join(-slope * start, slope)


def _tail(values: NDArray[np.float32]) -> tuple[float, float]:
    """Where the largest values begin, and their mean distance from there."""
    ordered = np.sort(values.astype(np.float64))
    count = min(max(round(TAIL_SHARE * len(ordered)), 5), len(ordered) - 1)
    start = ordered[-count - 1]
    return float(start), max(float((ordered[-count:] - start).mean()), 1e-6 * max(abs(float(start)), 1.0))


def defective_positions(
    defects: Defects, maps: Sequence[NDArray[np.float32]] | NDArray[np.float32], grid_hw: tuple[int, int]
) -> tuple[Places, ...]:
    """Which positions of each shown image are defective: those that its mask covers, else where its map is highest.

    `maps` are the unsupervised maps of these images, at the input size.
    """
    return tuple(
        _covered(mask, grid_hw) if mask is not None else _highest(anomaly_map, grid_hw)
        for mask, anomaly_map in zip(defects.masks, maps, strict=True)
    )


def _covered(mask: Mask, grid_hw: tuple[int, int]) -> Places:
    """The positions whose cells the mask covers."""
    share = _by_cell(mask.astype(np.float32), grid_hw).mean(axis=(1, 3)).ravel()
    return np.flatnonzero(share >= min(COVERED, share.max()))


def _highest(anomaly_map: NDArray[np.float32], grid_hw: tuple[int, int]) -> Places:
    """The positions around the largest value of the map, as far as it stays over half its height over the median."""
    values = _by_cell(anomaly_map, grid_hw).max(axis=(1, 3))
    largest, middle = float(values.max()), float(np.median(values))
    order = np.argsort(-values.ravel(), kind="stable")[:MOST_WITHOUT_MASK]
    return np.sort(order[values.ravel()[order] >= (largest + middle) / 2])


def _by_cell(values: NDArray[np.float32], grid_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Values (height, width) as (rows, height of a cell, columns, width of a cell), the edge repeated to fill cells."""
    (rows, columns), (height, width) = grid_hw, values.shape
    down, across = -(-height // rows), -(-width // columns)
    padded = np.pad(values, ((0, rows * down - height), (0, columns * across - width)), mode="edge")
    return padded.reshape(rows, down, columns, across)


@dataclass(frozen=True)
class _Teacher:
    """What the networks of one fit have in common."""

    good: Callable[[int], Seen]
    shown: Sequence[Seen]
    positions: Sequence[Places]
    layers: Sequence[PackedLayer]
    seed: int

    def network(self, good: Places, shown: Places) -> PatchNetwork:
        """Learned from these good images and these shown ones."""
        defective = [patches_of(self.shown[one], self.layers, self.positions[one]) for one in shown]
        # A large defect has more to say than a small one, but not in proportion to its area.
        weights = np.concatenate([np.full(len(part), len(part) ** -0.5) for part in defective])
        rng = np.random.default_rng(self.seed)
        num_positions = int(np.prod(finest_grid(self.layers).hw))
        count = min(DRAWN_OF_IMAGE, num_positions)
        drawn = [rng.choice(num_positions, count, replace=False) for _ in good]
        patches = np.concatenate(
            [patches_of(self.good(int(one)), self.layers, at) for one, at in zip(good, drawn, strict=True)]
        )
        scaling = Scaling.of(patches)
        joined = np.concatenate(defective)
        first = train_network(patches, joined, weights, scaling, self.layers, self.seed)
        hard = [self._hard(first, int(one)) for one in good]
        return train_network(np.concatenate([patches, *hard]), joined, weights, scaling, self.layers, self.seed)

    def _hard(self, network: PatchNetwork, place: int) -> NDArray[np.float32]:
        """The patches of a good image that look most like the shown defects."""
        seen = self.good(place)
        evidence = network.evidence(seen, self.layers).ravel()
        count = min(HARD_OF_IMAGE, len(evidence))
        return patches_of(seen, self.layers, np.argpartition(evidence, len(evidence) - count)[-count:])


@dataclass(frozen=True)
class Learned:
    """What was learned of shown defects: the network, its join, and held-out evidence of good and shown images.

    The evidence is float32 (images, rows, columns) on the finest grid, each image's by a network that did not see it.
    """

    network: PatchNetwork
    join: Join
    good: NDArray[np.float32]
    shown: NDArray[np.float32]


def learn_shown(
    request: FitRequest[Any],
    layers: Sequence[PackedLayer],
    held_out: HeldOut,
    folds: Sequence[Places],
    read: Callable[[int], NDArray[np.float32]],
    of_defects: Embeddings,
    unsupervised: NDArray[np.float32],
) -> Learned:
    """What the defects of the request tell, whose packed embeddings and unsupervised maps are given last.

    `held_out` is what good images got from the unsupervised detector when they were held out in `folds`; `read` gives
    the embedding of one by its place.
    """
    positions = defective_positions(request.defects, unsupervised, finest_grid(layers).hw)
    fine, pixels = finest_grid(layers), cell_grid(request.input_hw, 1)

    of_good = [on_grid(one, pixels, fine) for one in held_out.anomaly_maps]
    teacher = _Teacher(
        lambda place: Seen(read(place), of_good[place]),
        tuple(Seen(one, on_grid(other, pixels, fine)) for one, other in zip(of_defects, unsupervised, strict=True)),
        positions,
        layers,
        request.seed,
    )
    network, good, shown = _held_out_evidence(request, teacher, folds)
    largest = np.array([on_grid(one, fine, pixels, SIGMA).max() for one in good])
    return Learned(network, equal_rarity(held_out.anomaly_scores, largest), good, shown)


def joined(learned: Learned, evidence: NDArray[np.float32], maps: NDArray[np.float32], fine: Grid) -> HeldOut:
    """Maps and scores of images from their evidence and their unsupervised maps, as the graph joins them."""
    pixels = cell_grid(maps.shape[1:], 1)
    of_shown = (on_grid(learned.join.scale(one), fine, pixels, SIGMA) for one in evidence)
    both = np.stack([one + np.maximum(other, 0) for one, other in zip(maps, of_shown, strict=True)])
    return HeldOut(both.max(axis=(1, 2)), both)


def taught_head(
    request: FitRequest[Any],
    layers: Sequence[PackedLayer],
    reduction: Reduction,
    head: Head,
    held_out: HeldOut,
    folds: Sequence[Places],
    read: Callable[[int], NDArray[np.float32]],
    of_defects: Embeddings,
) -> Taught:
    """A `Teach`, once request, layers and reduction are bound: the head with the map of a network behind it."""
    runner = GraphRunner(head_graph(head, of_defects.shape[1:]), threads=1)
    unsupervised = np.stack([runner.run({"embedding": row[None]})["anomaly_map"][0] for row in of_defects])
    learned = learn_shown(request, layers, held_out, folds, read, of_defects, unsupervised)
    fine = finest_grid(layers)
    facts = {
        **head.facts,
        "num_shown": len(of_defects),
        "num_shown_without_mask": sum(mask is None for mask in request.defects.masks),
    }
    append = _appender(head, learned, layers, of_defects.shape[1:], request.input_hw, reduction)
    return Taught(
        Head(append, facts),
        joined(learned, learned.good, held_out.anomaly_maps, fine),
        joined(learned, learned.shown, unsupervised, fine),
    )


def _appender(
    head: Head,
    learned: Learned,
    layers: Sequence[PackedLayer],
    shape: tuple[int, ...],
    input_hw: tuple[int, int],
    reduction: Reduction,
) -> Callable[[GraphBuilder, str], None]:
    """Appends the head, the network beside it, and the sum of their maps."""

    def append(builder: GraphBuilder, embedding: str) -> None:
        [unsupervised] = builder.splice(head_graph(head, shape), {"embedding": embedding}, ["anomaly_map"])
        fine, pixels = finest_grid(layers), cell_grid(input_hw, 1)
        on_fine = resample(builder, unsupervised, pixels, fine)
        network = learned.network.scaled(learned.join.slope, learned.join.level)
        evidence = network.append(builder, embedding, on_fine, layers)
        of_shown = resample(builder, evidence, fine, pixels, SIGMA)
        anomaly_map = builder.op("Add", unsupervised, builder.op("Relu", of_shown))
        score = reduce_score(builder, anomaly_map, input_hw, reduction)
        builder.output(anomaly_map, "anomaly_map", np.float32, ["batch", *input_hw])
        builder.output(score, "anomaly_score", np.float32, ["batch"])

    return append


def _held_out_evidence(
    request: FitRequest[Any], teacher: _Teacher, folds: Sequence[Places]
) -> tuple[PatchNetwork, NDArray[np.float32], NDArray[np.float32]]:
    """The network of all images; the evidence of the good and of the shown ones by networks that did not see them."""
    groups = min(NUM_GROUPS, len(folds))
    of_good = fold_numbers(folds, len(request.images)) % groups
    of_shown = np.arange(len(teacher.positions)) % groups
    finest = finest_grid(teacher.layers)
    good = np.empty((len(of_good), *finest.hw), np.float32)
    shown = np.full((len(of_shown), *finest.hw), NO_EVIDENCE, np.float32)
    tasks = [-1, *range(groups)]

    def train(left_out: int) -> PatchNetwork:
        others = np.flatnonzero(of_shown != left_out)
        return teacher.network(np.flatnonzero(of_good != left_out), others if len(others) else np.arange(len(shown)))

    networks = map_in_order(train, tasks, request.threads)
    full: PatchNetwork | None = None
    for number, (left_out, network) in enumerate(zip(tasks, networks, strict=True), start=1):
        if left_out < 0:
            full = network
        else:
            for place in np.flatnonzero(of_good == left_out):
                good[place] = network.evidence(teacher.good(int(place)), teacher.layers)
            if len(shown) == 1:  # nothing can be learned without it
                continue
            for place in np.flatnonzero(of_shown == left_out):
                shown[place] = network.evidence(teacher.shown[int(place)], teacher.layers)
        request.report("learning what was shown", number, len(tasks))
    assert full is not None
    return full, good, shown
