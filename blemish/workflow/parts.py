"""Which good images show one part, and whether batches differ, by the features of the shipped backbone."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.datasets.groups import Groups, found_groups, share_in_new_batches
from blemish.datasets.split import block_folds
from blemish.decisions.promise import percent
from blemish.detectors.base import FitFunction, FitRequest
from blemish.errors import SettingsError
from blemish.graph.embedding import PackedLayer, build_packed_embedding, packed_layers
from blemish.images.resize import choose_input_hw, resize_image
from blemish.registry import DEFAULT_BACKBONE
from blemish.runtime.onnx_runner import GraphRunner
from blemish.runtime.pipeline import map_in_order
from blemish.schema import HeldOut, Image, Progress, silent
from blemish.weights import find_backbone

SIZE = 128
"""Shorter side in pixels: what two pictures of one part share shows at this size, and reading it is quick."""
STRIDES = (8, 16)
NUM_VALUES = 8192
"""Values of an embedding that are compared, drawn from all."""
NUM_BATCH_FOLDS = 10
"""Blocks of neighbors held out to measure what a new batch does: memory banks are derived without a tenth quickly."""
MOST_IMAGES = 5000
"""Images that are compared with each other at most: the distances of more do not fit into memory."""


@dataclass(frozen=True)
class Parts:
    """Which images show one part, how many parts of a new batch would be rejected, and what to tell people.

    `rejects_in_new_batches` is estimated, None where batches do not look different, or where it was not looked into.
    """

    groups: Groups
    rejects_in_new_batches: float | None = None
    notes: tuple[str, ...] = ()


def find_parts(images: Sequence[Image], false_reject: float, *, threads: int, progress: Progress = silent) -> Parts:
    """The parts that good images show, in the order of their names; `false_reject` is the rate within known batches."""
    if len(images) < 2:
        return Parts(found_groups([np.full((len(images), len(images)), np.inf, np.float32)]))
    distances = likeness_distances(images, threads=threads, progress=progress)
    groups, num_images, notes = found_groups(distances), len(images), []
    num_frames = int((~groups.is_part).sum())
    if num_frames:
        notes.append(
            f"{num_frames:,} of {num_images:,} good images follow each other like the frames of a video; runs of them "
            "are held out together, and the promise is approximate"
        )
    num_alike = groups.num_grouped - num_frames
    if num_alike > 0:
        notes.append(
            f"{num_alike:,} of {num_images:,} good images show nearly the same part as another one; they are held out "
            f"together, and the images count as {groups.count:,} parts"
        )
    if num_frames:
        return Parts(groups, None, tuple(notes))
    share, allowed = share_in_new_batches(distances[1], rate=false_reject), false_reject * num_images
    if share < 1.5 * false_reject or share * num_images < allowed + 3 * allowed**0.5:
        return Parts(groups, None, tuple(notes))
    return Parts(groups, share, tuple(notes))


def measure_new_batches(
    fit: FitFunction, request: FitRequest[Any], score: Callable[[HeldOut], NDArray[np.float32]], threshold: float
) -> float:
    """How many good images lie over the threshold once their neighbors in the order of names are held out too.

    `request` is the fit made before; `score` gives the scores of its held-out results as they are judged.
    """
    folds = block_folds(len(request.images), min(NUM_BATCH_FOLDS, len(request.images)))
    held_out = fit(replace(request, folds=folds)).held_out
    assert held_out is not None
    return float((score(held_out) > threshold).mean())


def batch_notes(share: float | None, false_reject: float, *, is_measured: bool) -> tuple[str, ...]:
    """What to say of how many parts of a new batch would be rejected; nothing where that is hardly more."""
    if share is None or share < 1.5 * false_reject:
        return ()
    how = (
        "measured with neighbors in the order of names held out together"
        if is_measured
        else "estimated from how alike neighbors in the order of names look"
    )
    return (
        f"batches differ: parts of a new batch would be rejected more often, about {percent(share)} ({how}); add good "
        "images of more batches",
    )


def check_trusted(trusted: Sequence[str], names: Sequence[str]) -> None:
    """Raises SettingsError where a trusted image is none of the good ones."""
    for name in trusted:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"they are named like {names[0]}"
            raise SettingsError(f"--trust {name}: there is no good image of this name; {hint}")


def likeness_distances(
    images: Sequence[Image], *, threads: int, progress: Progress = silent
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Squared distances between all images (n, n), infinite on the diagonal: place by place, and shifted a little.

    The first compares features at each place of the image. The second compares their mean and deviation in each
    quarter of the image, which stay the same where a part lies a little differently.
    """
    hw = choose_input_hw([images[0].shape[:2]], SIZE)
    backbone = find_backbone(DEFAULT_BACKBONE)
    names = {layer.stride: layer.name for layer in backbone.layers}
    layers = [names[stride] for stride in STRIDES]
    runner = GraphRunner(build_packed_embedding(backbone, layers, hw, 3), threads=1)
    packed = packed_layers(backbone, layers, hw)
    width = max(layer.places.stop for layer in packed)
    chosen = np.sort(np.random.default_rng(0).permutation(width)[:NUM_VALUES])

    def describe(place: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        row = runner.run({"image": resize_image(images[place], hw)[None]})["embedding"][0]
        return row[chosen], np.concatenate([_quarters(row, layer) for layer in packed])

    by_place, by_quarter = [], []
    for done, (values, quarters) in enumerate(map_in_order(describe, range(len(images)), threads), start=1):
        by_place.append(values)
        by_quarter.append(quarters)
        progress("comparing good images", done, len(images))
    return _squared_distances(np.stack(by_place)), _squared_distances(np.stack(by_quarter))


def _quarters(row: NDArray[np.float32], layer: PackedLayer) -> NDArray[np.float32]:
    rows, columns = layer.grid.hw
    grid = row[layer.places].reshape(rows, columns, layer.channels)
    found = []
    for down in (slice(0, rows // 2), slice(rows // 2, rows)):
        for across in (slice(0, columns // 2), slice(columns // 2, columns)):
            quarter = grid[down, across].reshape(-1, layer.channels)
            found += [quarter.mean(axis=0), quarter.std(axis=0)]
    return np.concatenate(found)


def _squared_distances(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each value counts in units of its deviation over the images."""
    scaled = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-6)
    squares = np.einsum("ij,ij->i", scaled, scaled)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * scaled @ scaled.T, 0)
    np.fill_diagonal(distances, np.inf)
    return np.asarray(distances, np.float32)
