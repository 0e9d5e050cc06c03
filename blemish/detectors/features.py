"""What detectors on frozen features share: embed all images once, learn a head, give held-out results by fold.

A head is the part of the graph behind the embedding. The held-out results run the very same head on the stored
embeddings, so that fitting once for each fold costs no second pass through the backbone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from blemish.detectors.base import FitRequest
from blemish.errors import BackboneError
from blemish.graph.builder import GraphBuilder
from blemish.graph.pixels import image_input
from blemish.runtime.onnx_runner import GraphRunner
from blemish.runtime.pipeline import map_in_order
from blemish.schema import Backbone, Fit, HeldOut, Image, Reduction

Result = TypeVar("Result")

_log = logging.getLogger(__name__)

SMALL_SHARE = 0.1
"""Largest share of the images that a head is derived without; without more of them it is learned anew."""
FOLDS_TO_TEACH = 5
"""Folds that good images are held out in where none are asked for and defects are shown."""
MOST_FEATURE_BYTES = 3 * 2**29
"""Most memory that embeddings are kept in, 1.5 GB; of images that need more, evenly spread ones are learned from."""

Embeddings = NDArray[np.float32]
"""float32 (images, positions, channels), or (images, values) where packed."""
Places = NDArray[np.intp]
"""Which images, as rows of the embeddings."""


@dataclass(frozen=True)
class Head:
    """Appends itself to a graph, given the name of the embedding there; `facts` go into the bundle.

    `without` gives, for each of some disjoint sets of images (rows of the embeddings), the head as if it had been
    learned without them, where a detector knows a quicker way than to learn it anew.
    """

    append: Callable[[GraphBuilder, str], None]
    facts: Mapping[str, Any] = field(default_factory=dict)
    without: Callable[[Sequence[Places]], Iterable[Head]] | None = None


@dataclass(frozen=True)
class Taught:
    """A head that knows shown defects, and held-out results of the good images and of the shown ones."""

    head: Head
    good: HeldOut
    shown: HeldOut


class Teach(Protocol):
    """Adds what shown defects tell to a head.

    It is given the head, what the good images got when they were held out and in which folds, what gives the embedding
    of a good image by its place, and the embeddings of the shown images.
    """

    def __call__(
        self,
        head: Head,
        held_out: HeldOut,
        folds: Sequence[Places],
        read: Callable[[int], NDArray[np.float32]],
        of_defects: Embeddings,
        /,
    ) -> Taught: ...


def fit_on_embeddings(
    request: FitRequest[Any], embedder: bytes, learn: Callable[[Embeddings], Head], *, reduction: Reduction
) -> Fit:
    """The fit of a detector whose head is learned from embeddings by `learn`."""

    def learn_from(embeddings: Embeddings, places: Places) -> Head:
        return learn(embeddings if len(places) == len(embeddings) else embeddings[places])

    return fit_on_places(request, embedder, learn_from, reduction=reduction)


def fit_on_places(
    request: FitRequest[Any],
    embedder: bytes,
    learn: Callable[[Embeddings, Places], Head],
    *,
    copies: Sequence[Sequence[Image]] = (),
    reduction: Reduction,
    teach: Teach | None = None,
) -> Fit:
    """As `fit_on_embeddings`, for a `learn` that is given all embeddings and the rows of those to learn from.

    So it can keep what it found out about single images from one call to the next. Behind the embeddings of the images
    come those of each of `copies`, the same images turned, in the same order; they are in no fold. `teach` adds what
    the shown defects tell.
    """
    images = request.images
    runner = GraphRunner(embedder, threads=1)
    shape = runner.run({"image": images[0][None]})["embedding"].shape[1:]
    learned = learned_places(len(images), 4 * int(np.prod(shape)) * (1 + len(copies)))
    embeddings = np.empty(((1 + len(copies)) * len(learned), *shape), np.float32)
    for turn, turned in enumerate((images, *copies)):
        _embed(request, turned, learned, runner, embeddings[turn * len(learned) :])
    head = learn(embeddings, np.arange(len(learned)))
    folds = request.folds
    if teach is not None and not len(folds):  # without held-out results nothing can be said of the shown defects
        folds = np.array_split(np.arange(len(images)), min(FOLDS_TO_TEACH, len(images)))
    held_out = _held_out(request, folds, runner, learned, embeddings, head, learn) if len(folds) else None
    shown, unsupervised = None, None
    if teach is not None and held_out is not None:
        rows = {int(place): row for row, place in enumerate(learned)}

        def read(place: int) -> NDArray[np.float32]:
            if place in rows:
                return np.asarray(embeddings[rows[place]])
            return np.asarray(runner.run({"image": images[place][None]})["embedding"][0])

        defects = request.defects.images
        of_defects = np.stack([runner.run({"image": image[None]})["embedding"][0] for image in defects])
        taught = teach(head, held_out, folds, read, of_defects)
        head, held_out, shown, unsupervised = taught.head, taught.good, taught.shown, held_out
    facts = {**head.facts, **_facts_of_part(len(learned), len(images))}
    graph = _join(embedder, head, request.input_hw)
    return Fit(graph, facts, reduction, held_out if len(request.folds) else None, shown, unsupervised)


def learned_places(num_images: int, bytes_of_each: int) -> Places:
    """The images that are learned from: all, or as many as `MOST_FEATURE_BYTES` hold, at even steps.

    >>> learned_places(5, 1000).tolist(), learned_places(5, MOST_FEATURE_BYTES // 3).tolist()
    ([0, 1, 2, 3, 4], [0, 2, 4])
    """
    most = max(MOST_FEATURE_BYTES // bytes_of_each, 1)
    return np.unique(np.linspace(0, num_images - 1, min(most, num_images)).round().astype(np.intp))


def _facts_of_part(num_learned: int, num_images: int) -> dict[str, Any]:
    if num_learned == num_images:
        return {}
    note = (
        f"{num_learned:,} of {num_images:,} images, evenly spread, were learned from: "
        f"the features of more do not fit into {MOST_FEATURE_BYTES / 2**30:.1f} GB"
    )
    return {"num_learned": num_learned, "notes": [note]}


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


def _embed(
    request: FitRequest[Any], images: Sequence[Image], places: Places, runner: GraphRunner, embeddings: Embeddings
) -> None:
    """Puts the embeddings of the images at `places` into `embeddings`, in their order."""

    def run(place: int) -> NDArray[np.float32]:
        found: NDArray[np.float32] = runner.run({"image": images[place][None]})["embedding"][0]
        return found

    for row, found in enumerate(_each(run, places, request.threads)):
        embeddings[row] = found
        request.report("reading features", row + 1, len(places))


def _held_out(
    request: FitRequest[Any],
    folds: Sequence[Places],
    embedder: GraphRunner,
    learned: Places,
    embeddings: Embeddings,
    full: Head,
    learn: Callable[[Embeddings, Places], Head],
) -> HeldOut:
    """Scores and maps of each fold by the head without it; each core does one fold by itself."""
    images = request.images
    rows = {int(place): row for row, place in enumerate(learned)}
    held_rows = [np.flatnonzero(np.isin(learned, fold)) for fold in folds]
    heads = _heads_without(full, held_rows, len(learned), lambda rows: learn(embeddings, rows))
    graphs = (head_graph(head, embeddings.shape[1:]) for head in heads)
    scores = np.empty(len(images), np.float32)
    maps: NDArray[np.float32] | None = None

    def score(task: tuple[NDArray[np.intp], bytes]) -> list[dict[str, NDArray[Any]]]:
        fold, graph = task
        runner = GraphRunner(graph, threads=1)
        found = []
        for place in fold.tolist():
            if place in rows:
                embedding = embeddings[rows[place]][None]
            else:
                embedding = embedder.run({"image": images[place][None]})["embedding"]
            found.append(runner.run({"embedding": embedding}))
        return found

    outcomes = map_in_order(score, zip(folds, graphs, strict=True), request.threads)
    for number, (fold, outcome) in enumerate(zip(folds, outcomes, strict=True), start=1):
        for place, found in zip(fold, outcome, strict=True):
            if maps is None:
                maps = np.empty((len(images), *found["anomaly_map"].shape[1:]), np.float32)
            scores[place], maps[place] = found["anomaly_score"][0], found["anomaly_map"][0]
        request.report("scoring held-out good images", number, len(folds))
    assert maps is not None
    return HeldOut(scores, maps)


def _heads_without(
    full: Head, held_rows: Sequence[Places], num_learned: int, learn: Callable[[Places], Head]
) -> Iterator[Head]:
    """The head without each set of rows: of small ones by `full.without` where there is one, else learned anew."""
    everything = np.arange(num_learned)
    is_small = [full.without is not None and len(held) <= SMALL_SHARE * num_learned for held in held_rows]
    small = [held for held, is_one in zip(held_rows, is_small, strict=True) if is_one]
    quick = iter(full.without(small)) if full.without and small else iter(())
    for held, is_one in zip(held_rows, is_small, strict=True):
        yield next(quick) if is_one else learn(np.setdiff1d(everything, held))


def _each(work: Callable[[int], Result], places: Places, threads: int) -> Iterator[Result]:
    """What `work` gives for each image, in order; each thread does one of them by itself.

    The numbers are those of batches on all threads, and come faster.
    """

    def tell(num_threads: int) -> None:
        _log.warning("memory ran out: reading %d at a time from here on", num_threads)

    return map_in_order(work, places.tolist(), threads, on_fewer=tell)


def head_graph(head: Head, shape: tuple[int, ...]) -> bytes:
    """The head alone: from `embedding`, of that shape for one image, to the outputs of a detector."""
    builder = GraphBuilder("head")
    head.append(builder, builder.input("embedding", np.float32, ["batch", *shape]))
    return builder.build()


def _join(embedder: bytes, head: Head, input_hw: tuple[int, int]) -> bytes:
    builder = GraphBuilder("detector")
    image = image_input(builder, input_hw)
    [embedding] = builder.splice(embedder, {"image": image}, ["embedding"])
    head.append(builder, embedding)
    return builder.build()
