"""From a trained detector to its `Fit`: export, and held-out results where folds are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from blemish.detectors.base import FitRequest
from blemish.graph.grid import cell_grid
from blemish.learned.contract import Learner, Prepare, Sample, Samples, TrainingSettings
from blemish.learned.export import export_graph
from blemish.learned.reading import MapReader, OneGraph, raw_maps
from blemish.learned.training import at_most_threads, train
from blemish.schema import Fit, HeldOut, Image, Reduction
from blemish.synthesis.augment import Augmentation, augment

BATCH = 8


@dataclass(frozen=True)
class Made:
    """One trained detector: a module from uint8 images to the graph's outputs, and facts of the training."""

    graph: nn.Module
    facts: Mapping[str, Any] = field(default_factory=dict)


def fit_learned(
    make: Callable[[Sequence[Image], str], Made], request: FitRequest[Any], *, name: str, reduction: Reduction
) -> Fit:
    """The `Fit` of what `make(images, name)` trains; once for all images and once for the others of each fold.

    The name tells the trainings of one fit apart: their progress and their checkpoints.
    """
    images, folds = request.images, request.folds
    height, width = request.input_hw
    with at_most_threads(request.threads):
        made = make(images, name)
        held_out = None
        if len(folds):
            scores = np.zeros(len(images), np.float32)
            maps = np.zeros((len(images), height, width), np.float32)
            for number, fold in enumerate(folds, 1):
                kept = np.setdiff1d(np.arange(len(images)), fold)
                fold_made = make([images[int(index)] for index in kept], f"{name} fold {number} of {len(folds)}")
                maps[fold], scores[fold] = run_module(fold_made.graph, [images[int(index)] for index in fold])
            held_out = HeldOut(scores, maps)
        return Fit(export_graph(made.graph, height, width), made.facts, reduction, held_out)


def fit_reconstruction(
    request: FitRequest[TrainingSettings],
    build: Callable[[], Learner],
    prepare: Prepare,
    *,
    name: str,
    sigma: float,
) -> Fit:
    """The `Fit` of a learner whose raw maps have the image's size; the score is the largest value of the map."""
    input_hw = request.input_hw
    reduction = Reduction("max")

    def make(some: Sequence[Image], training_name: str) -> Made:
        trained = train(build, Samples(some, prepare), request, name=training_name)
        grid = cell_grid(input_hw, 1)
        reader = MapReader(grid, input_hw, sigma=sigma, reduction=reduction, logarithm=True)
        reader.learn_usual(raw_maps(trained.learner, some))
        return Made(OneGraph(trained.learner, reader), trained.facts)

    return fit_learned(make, request, name=name, reduction=reduction)


def prepare_augmented(augmentation: Augmentation, index: int, image: Image, rng: np.random.Generator) -> Sample:
    """An augmented good image, to be redrawn as it is."""
    changed = augment(image, rng, augmentation)
    return Sample(changed, changed, np.zeros(changed.shape[:2], bool))


def run_module(graph: nn.Module, images: Sequence[Image]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Anomaly maps and anomaly scores that the module gives the images."""
    graph = graph.eval()
    maps, scores = [], []
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            part = [np.ascontiguousarray(images[index]) for index in range(start, min(start + BATCH, len(images)))]
            outputs = graph(torch.from_numpy(np.stack(part)))
            maps.append(outputs[0].numpy())
            scores.append(outputs[1].numpy())
    return np.concatenate(maps), np.concatenate(scores)
