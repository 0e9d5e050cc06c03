"""What detectors on frozen features share: embed all images once, learn a head, give held-out results by fold.

A head is the part of the graph behind the embedding. The held-out results run the very same head on the stored
embeddings, so that fitting once for each fold costs no second pass through the backbone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.errors import BackboneError
from blemish.graph.builder import GraphBuilder
from blemish.graph.pixels import image_input
from blemish.runtime.onnx_runner import GraphRunner
from blemish.runtime.pipeline import map_in_order, usable_cores
from blemish.schema import Backbone, Fit, HeldOut, Image, Progress, Reduction

_log = logging.getLogger(__name__)

Embeddings = NDArray[np.float32]
"""float32 (images, positions, channels), or (images, values) where packed."""
Places = NDArray[np.intp]
"""Which images, as rows of the embeddings."""


@dataclass(frozen=True)
class Head:
    """Appends itself to a graph, given the name of the embedding there; `facts` go into the bundle."""

    append: Callable[[GraphBuilder, str], None]
    facts: Mapping[str, Any] = field(default_factory=dict)


def fit_on_embeddings(
    images: Sequence[Image],
    embedder: bytes,
    learn: Callable[[Embeddings], Head],
    *,
    reduction: Reduction,
    folds: Sequence[NDArray[np.intp]],
    progress: Progress,
) -> Fit:
    """The fit of a detector whose head is learned from embeddings by `learn`."""

    def learn_from(embeddings: Embeddings, places: Places) -> Head:
        return learn(embeddings if len(places) == len(embeddings) else embeddings[places])

    return fit_on_places(images, embedder, learn_from, reduction=reduction, folds=folds, progress=progress)


def fit_on_places(
    images: Sequence[Image],
    embedder: bytes,
    learn: Callable[[Embeddings, Places], Head],
    *,
    reduction: Reduction,
    folds: Sequence[NDArray[np.intp]],
    progress: Progress,
) -> Fit:
    """As `fit_on_embeddings`, for a `learn` that is given all embeddings and the images to learn from.

    So it can keep what it found out about single images from one call to the next.
    """
    embeddings = embed(images, embedder, progress)
    head = learn(embeddings, np.arange(len(images)))
    held_out = _held_out(embeddings, learn, folds, progress) if folds else None
    return Fit(_join(embedder, head, images[0].shape[:2]), head.facts, reduction, held_out)


def deepest_layers(backbone: Backbone, strides: Sequence[int]) -> tuple[str, ...]:
    """The last declared layer of each stride."""
    names = {layer.stride: layer.name for layer in backbone.layers}
    missing = [stride for stride in strides if stride not in names]
    if missing:
        raise BackboneError(
            f"backbone '{backbone.name}' declares no layer of stride {missing[0]}: "
            f"name the layers to use, of {', '.join(layer.name for layer in backbone.layers)}"
        )
    return tuple(names[stride] for stride in strides)


def embed(images: Sequence[Image], embedder: bytes, progress: Progress) -> Embeddings:
    """The embeddings of all images; `embedder` is a graph from `image` to `embedding`."""
    embeddings: Embeddings | None = None
    for number, found in enumerate(_run_each(embedder, "image", images), start=1):
        if embeddings is None:
            embeddings = np.empty((len(images), *found["embedding"].shape), np.float32)
        embeddings[number - 1] = found["embedding"]
        progress("reading features", number, len(images))
    assert embeddings is not None
    return embeddings


def _held_out(
    embeddings: Embeddings,
    learn: Callable[[Embeddings, Places], Head],
    folds: Sequence[NDArray[np.intp]],
    progress: Progress,
) -> HeldOut:
    scores = np.empty(len(embeddings), np.float32)
    maps: NDArray[np.float32] | None = None
    for number, fold in enumerate(folds):
        head = _head_graph(learn(embeddings, np.setdiff1d(np.arange(len(embeddings)), fold)), embeddings.shape[1:])
        for place, found in zip(fold, _run_each(head, "embedding", (embeddings[place] for place in fold)), strict=True):
            if maps is None:
                maps = np.empty((len(embeddings), *found["anomaly_map"].shape), np.float32)
            scores[place], maps[place] = found["anomaly_score"], found["anomaly_map"]
        progress("scoring held-out good images", number + 1, len(folds))
    assert maps is not None
    return HeldOut(scores, maps)


def _run_each(graph: bytes, name: str, values: Iterable[NDArray[Any]]) -> Iterator[Mapping[str, NDArray[Any]]]:
    """What a graph gives for each value of its input `name`, in order; each core runs one of them by itself.

    The numbers are those of batches on all cores, and come faster.
    """
    runner = GraphRunner(graph, threads=1)

    def run(value: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        return {output: found[0] for output, found in runner.run({name: value[None]}).items()}

    def tell(num_threads: int) -> None:
        _log.warning("memory ran out: reading %d at a time from here on", num_threads)

    return map_in_order(run, values, usable_cores(), on_fewer=tell)


def _head_graph(head: Head, shape: tuple[int, ...]) -> bytes:
    builder = GraphBuilder("head")
    head.append(builder, builder.input("embedding", np.float32, ["batch", *shape]))
    return builder.build()


def _join(embedder: bytes, head: Head, input_hw: tuple[int, int]) -> bytes:
    builder = GraphBuilder("detector")
    image = image_input(builder, input_hw)
    [embedding] = builder.splice(embedder, {"image": image}, ["embedding"])
    head.append(builder, embedding)
    return builder.build()
