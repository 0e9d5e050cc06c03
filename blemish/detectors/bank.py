"""Memory banks: which patch embeddings of good images are kept, and how far good patches usually lie from them.

Embeddings are packed: one row of values for each image, in which every layer has its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blemish.detectors.coreset import cover_orders, select_coreset
from blemish.detectors.features import Embeddings, Places
from blemish.detectors.scaling import fit_scaling
from blemish.graph.embedding import PackedLayer
from blemish.graph.grid import on_grid
from blemish.schema import Progress

CANDIDATES = 100_000
"""About how many patches a bank is chosen from; each image gives its share, within the next two limits."""
LEAST_OF_IMAGE, MOST_OF_IMAGE = 64, 256
MOST_POSITIONS = 4096
"""Positions of one image that candidates are chosen from."""
TOGETHER = 16
"""Images whose patches are chosen together: steps in Python are fewer, and the patches stay in the cache."""
SCALING_PATCHES = 100_000
"""About how many patches the scaling is fitted on; each image gives at least 16."""
NUM_WITNESSES = 48
"""Good images whose distances to the patches of the others tell what is usual."""
NEIGHBORS_AROUND = 5
"""How many entries of other images tell how close good patches lie around an entry."""
CHUNK_ENTRIES = 128
"""Entries whose distances to all others are held at a time."""
SPACING_STEP = 1.03
"""Spacings are rounded to powers of it: the graph compares the entries of one spacing together."""
MOST_STEPS = 4
"""Most steps that count, either way: 1.03^4 is 1.126. What is rare would hide too much of a defect near it."""


@dataclass(frozen=True)
class LayerBank:
    """What is kept of one layer: the scaling, and the entries, which are scaled embeddings of good patches.

    Of each entry there is the image that it is of, and how far good patches lie from each other around it. Entries are
    in the order of these spacings, which many have in common.
    """

    center: NDArray[np.float32]
    projection: NDArray[np.float32]
    entries: NDArray[np.float32]
    owners: Places
    spacings: NDArray[np.float32]


@dataclass(frozen=True)
class Candidates:
    """The scaled patches that a bank was chosen from, with the image of each: what fills gaps in `leave_out`.

    `mean_spacing` is the mean distance of the bank's entries to those of other images around them.
    """

    points: NDArray[np.float32]
    owners: Places
    mean_spacing: float


def candidates_of_each(num_images: int) -> int:
    """Of each of so many images, how many patches a bank is chosen from."""
    return min(max(CANDIDATES // num_images, LEAST_OF_IMAGE), MOST_OF_IMAGE)


def cover_images(embeddings: Embeddings, layer: PackedLayer, count: int, progress: Progress) -> Places:
    """For each image the positions that cover it best, in the order of their choice: (images, at most `count`).

    Channels are made to vary alike in each image, so that its cover doesn't depend on other images. Of the many
    positions of a large image a part is looked at.
    """
    looked_at = np.sort(_shuffled_positions(layer)[:MOST_POSITIONS])
    covers = np.empty((len(embeddings), min(count, len(looked_at))), np.intp)
    for start in range(0, len(embeddings), TOGETHER):
        rows = embeddings[start : start + TOGETHER, layer.places]
        patches = rows.reshape(-1, *layer.shape)[:, looked_at]
        deviations = patches.std(axis=1, keepdims=True)
        comparable = patches / (deviations + 0.1 * deviations.mean(axis=2, keepdims=True) + 1e-6)
        covers[start : start + TOGETHER] = looked_at[cover_orders(comparable, covers.shape[1])]
        progress("choosing patches of each image", start + len(rows), len(embeddings))
    return covers


def fit_bank(
    embeddings: Embeddings,
    places: Places,
    layer: PackedLayer,
    covers: Places,
    size: int,
    whitening: float,
    spacing: float,
    progress: Progress,
    *,
    num_images: int,
) -> tuple[LayerBank, Candidates]:
    """The bank of one layer, of at most `size` entries, from the images at `places`, and what it was chosen from.

    Places from `num_images` on are those of turned copies, in the order of the images: a copy belongs to its image,
    since it says nothing of how far the patches of other images lie.

    The candidates are the first patches of each image's cover: a patch that only one image shows is among them, however
    many images there are, and the many patches that look alike are not.
    """
    sample = _shuffled_positions(layer)[: max(SCALING_PATCHES // len(places), 16)]
    center, projection = fit_scaling(_gather(embeddings, places, layer, lambda place: sample), whitening)
    share = min(candidates_of_each(len(places)), covers.shape[1])
    candidates = _gather(embeddings, places, layer, lambda place: covers[place, :share])
    scaled = np.matmul(candidates - center, projection, dtype=np.float32)
    chosen = select_coreset(scaled, size, progress=progress)
    owners = np.repeat(places % num_images, share)
    spacings = distances_to_other_images(scaled[chosen], owners[chosen])
    candidates_of_bank = Candidates(scaled, owners, float(spacings.mean()))
    units = spacing_units(spacings, candidates_of_bank.mean_spacing, spacing)
    return order_by_units(LayerBank(center, projection, scaled[chosen], owners[chosen], units)), candidates_of_bank


def spacing_units(spacings: NDArray[np.float32], mean_spacing: float, strength: float) -> NDArray[np.float32]:
    """What distances to entries are divided by: powers of `SPACING_STEP`, 1 where good patches lie as far as usual."""
    steps = np.clip(np.round(np.log(spacings / mean_spacing) / np.log(SPACING_STEP)), -MOST_STEPS, MOST_STEPS)
    return np.asarray(SPACING_STEP ** (strength * steps), np.float32)


def order_by_units(bank: LayerBank) -> LayerBank:
    """The bank with its entries in the order of their spacings, which the graph compares together."""
    order = np.argsort(bank.spacings, kind="stable")
    return LayerBank(bank.center, bank.projection, bank.entries[order], bank.owners[order], bank.spacings[order])


def distances_to_other_images(entries: NDArray[np.float32], owners: Places) -> NDArray[np.float32]:
    """The mean distance of each entry to the nearest entries of other images; 1 for all where one image has all.

    `NEIGHBORS_AROUND` entries count, or as many as there are for each.

    >>> entries, owners = np.array([[0.0], [4.0], [6.0]], np.float32), np.array([0, 0, 1])
    >>> distances_to_other_images(entries, owners).tolist()
    [6.0, 2.0, 2.0]
    """
    count = min(NEIGHBORS_AROUND, len(entries) - int(np.bincount(owners).max()))
    if count == 0:
        return np.ones(len(entries), np.float32)
    table = comparison_table(entries)
    nearest = np.empty((len(entries), count), np.float32)
    for start in range(0, len(entries), CHUNK_ENTRIES):
        rows = slice(start, start + CHUNK_ENTRIES)
        squared = beside_its_square(entries[rows]) @ table
        squared[owners[rows, None] == owners] = np.inf
        for column in range(count):  # a few passes for the least value are quicker than a partial sort
            places = squared.argmin(axis=1)[:, None]
            nearest[rows, column] = np.take_along_axis(squared, places, axis=1)[:, 0]
            np.put_along_axis(squared, places, np.inf, axis=1)
    distances: NDArray[np.float32] = np.sqrt(np.maximum(nearest, 1e-12)).mean(axis=1)
    return distances


def layer_weights(layers: Sequence[PackedLayer]) -> NDArray[np.float64]:
    """How much each layer's distances count: in inverse proportion to its stride; the sum is 1.

    What fine layers see is sharper in place and covers more positions; small defects show in them first.
    """
    weights = np.array([1 / layer.grid.stride for layer in layers])
    normalized: NDArray[np.float64] = weights / weights.sum()
    return normalized


@dataclass(frozen=True)
class WitnessDistances:
    """How far patches of some good images lie from the patches of the others.

    `places` are the images; `of_layers` float32 (images, positions) for each layer, in units of the entries' spacings.
    """

    places: Places
    of_layers: tuple[NDArray[np.float32], ...]

    def without(self, rows: Places) -> WitnessDistances:
        """Those of the other images, or all where less than two would be left."""
        kept = np.setdiff1d(np.arange(len(self.places)), rows)
        if len(kept) < 2:
            return self
        return WitnessDistances(self.places[kept], tuple(layer[kept] for layer in self.of_layers))


def witness_distances(
    embeddings: Embeddings,
    places: Places,
    layers: Sequence[PackedLayer],
    banks: Sequence[LayerBank],
    progress: Progress,
) -> WitnessDistances:
    """Distances of at most `NUM_WITNESSES` of the images at `places` to the bank's entries of other images.

    They are chosen by their embeddings so that the order of images makes no difference.
    """
    if len(places) > NUM_WITNESSES:
        ranked = places[np.argsort([embeddings[place].mean(dtype=np.float64) for place in places], kind="stable")]
        places = ranked[np.linspace(0, len(ranked) - 1, NUM_WITNESSES).round().astype(np.intp)]
    found = []
    for number, (layer, bank) in enumerate(zip(layers, banks, strict=True), start=1):
        table = comparison_table(bank.entries) / bank.spacings**2
        found.append(np.stack([_distances_to_others(embeddings[place], place, layer, bank, table) for place in places]))
        progress("measuring usual distances", number, len(layers))
    return WitnessDistances(places, tuple(found))


def usual_distances(
    witnesses: WitnessDistances, layers: Sequence[PackedLayer], banks: Sequence[LayerBank]
) -> tuple[list[float], NDArray[np.float32]]:
    """How far patches of good images usually lie from the patches of other images.

    For each layer the mean distance; then maps (images, rows, columns) of the weighted sum of all layers' distances,
    each divided by its mean, on the finest grid.
    """
    finest = min((layer.grid for layer in layers), key=lambda grid: grid.stride)
    units: list[float] = []
    maps = np.zeros((len(witnesses.places), *finest.hw), np.float32)
    for layer, bank, weight, distances in zip(layers, banks, layer_weights(layers), witnesses.of_layers, strict=True):
        # Copies of one image lie at no distance from each other: the size of the values is a floor then.
        units.append(max(float(distances.mean()), 1e-3 * float(np.abs(bank.entries).mean()), 1e-6))
        maps += on_grid(distances.reshape(-1, *layer.grid.hw), layer.grid, finest) * np.float32(weight / units[-1])
    return units, maps


def _distances_to_others(
    row: NDArray[np.float32],
    place: np.intp,
    layer: PackedLayer,
    bank: LayerBank,
    table: NDArray[np.float32],
) -> NDArray[np.float32]:
    """The distance of each position of an image to the bank's entries of other images, in their spacings."""
    scaled = np.matmul(row[layer.places].reshape(layer.shape) - bank.center, bank.projection, dtype=np.float32)
    squared = beside_its_square(scaled) @ table
    own = bank.owners == place
    if not own.all():  # else there is one image alone: what its own entries leave uncovered has to do
        squared[:, own] = np.inf
    distances: NDArray[np.float32] = np.sqrt(np.maximum(squared.min(axis=1), 0))
    return distances


def comparison_table(entries: NDArray[np.float32]) -> NDArray[np.float32]:
    """With a row `beside_its_square` the product is the squared distance to each entry: |x|^2 - 2 x.b + |b|^2."""
    squares = np.einsum("ij,ij->i", entries, entries)
    return np.concatenate([-2 * entries.T, np.ones((1, len(entries)), np.float32), squares[None]])


def beside_its_square(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each point, its square and a constant 1."""
    squares = np.einsum("ij,ij->i", points, points)
    return np.concatenate([points, squares[:, None], np.ones((len(points), 1), np.float32)], axis=1)


def _shuffled_positions(layer: PackedLayer) -> NDArray[np.intp]:
    """All positions of a layer in an order without pattern, the same each time."""
    return np.random.default_rng(0).permutation(layer.shape[0])


def _gather(
    embeddings: Embeddings, places: Places, layer: PackedLayer, positions_of: Callable[[np.intp], Places]
) -> NDArray[np.float32]:
    """Patches of one layer at some positions of each image, image by image: (n, channels)."""
    rows = (embeddings[place, layer.places].reshape(layer.shape)[positions_of(place)] for place in places)
    return np.concatenate(list(rows))
