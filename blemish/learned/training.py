"""The one training loop of all learned detectors: what they have in common, run by PyTorch Lightning.

`train` returns the learner of a family with the weights of its best epoch on held-out good images; see `contract`.
Every epoch has random states of its own, so that a resumed training ends where an uninterrupted one does.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from blemish.detectors.base import FitRequest
from blemish.errors import DataError
from blemish.files import locked
from blemish.learned.contract import Learner, Samples, TrainingSettings
from blemish.schema import Image, TrainingRun

PATIENCE_SECONDS = 10.0
"""For another training in the same folder: one that was killed may take a moment to be gone."""


@dataclass(frozen=True)
class Trained:
    """A learner after training, on the CPU in float32, ready to be read, and how it came about.

    `history` has one entry per epoch: `epoch`, `train_loss`, `validation_loss`, `separation_ratio`, `learning_rate`,
    `seconds`. The indices say which images were trained on and which were held out.
    """

    learner: Learner
    history: tuple[dict[str, float], ...]
    best_epoch: int
    train_indices: NDArray[np.intp]
    validation_indices: NDArray[np.intp]
    notes: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def train(
    build: Callable[[], Learner], samples: Samples, request: FitRequest[TrainingSettings], *, name: str
) -> Trained:
    """The learner of its best epoch on the samples, trained as the request says; `build` is called under its seed.

    Raises DataError for images that cannot be trained on, TrainingError where the loss stops being a number or a
    checkpoint cannot be written, SettingsError where the checkpoint to resume from is of another training, OutputError
    where another training is under way in the same folder.
    """
    # Imported here: the training library takes seconds to load, and reading settings needs none of it.
    from blemish.learned.loop import run_loop

    settings, seed = request.settings, request.seed
    images = _loaded(samples.images)
    order = np.random.default_rng((seed, 1)).permutation(len(images))
    num_held_out = min(max(1, round(settings.validation_ratio * len(images))), len(images) - 1)
    validation, training = np.sort(order[:num_held_out]), np.sort(order[num_held_out:])
    notes: tuple[str, ...] = ()
    if len(training) < settings.batch_size:
        notes = (
            f"{len(training)} images to train on are fewer than a batch of {settings.batch_size}: "
            f"trained in batches of {len(training)}",
        )
    with seeded(seed):
        learner = build()
    started = time.perf_counter()
    with _folder_of(request.run, name) as folder:
        history, best_epoch = run_loop(
            learner,
            Samples(images, samples.prepare, samples.num_good),
            training,
            validation,
            request,
            identity=_identity(learner, images, settings, name, seed),
            folder=folder,
            name=name,
        )
    facts: dict[str, Any] = {
        "history": list(history),
        "best_epoch": best_epoch,
        "num_train": len(training),
        "num_validation": len(validation),
        "num_parameters": sum(parameter.numel() for parameter in learner.parameters() if parameter.requires_grad),
        "train_seconds": round(time.perf_counter() - started, 3),
    }
    if notes:
        facts["notes"] = list(notes)
    return Trained(learner.eval(), history, best_epoch, training, validation, notes, facts)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, PyTorch's chance on the CPU starts from this seed; outside, it is as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def at_most_threads(threads: int) -> Iterator[None]:
    """Inside, PyTorch uses no more threads than this on the CPU, nor more than it would have used."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _loaded(images: Sequence[Image]) -> Sequence[Image]:
    """The images, checked, and read once if they fit into memory well."""
    if len(images) < 2:
        raise DataError(f"found {len(images)} images to train on: a learned detector needs at least 2")
    first = images[0]
    if first.ndim != 3 or first.shape[2] != 3 or first.dtype != np.uint8:
        raise DataError(f"expected uint8 images (height, width, 3), found {first.dtype} {first.shape}")
    if len(images) * first.nbytes > 2**31:
        return images
    loaded = [np.ascontiguousarray(image) for image in images]
    for index, image in enumerate(loaded):
        if image.shape != first.shape:
            raise DataError(
                f"image {index} is of shape {image.shape}, the first of {first.shape}: bring all to one size"
            )
    return loaded


def _identity(
    learner: Learner, images: Sequence[Image], settings: TrainingSettings, name: str, seed: int
) -> dict[str, Any]:
    """What a checkpoint must agree in with the training that goes on from it."""
    content = hashlib.sha256()
    for index in range(len(images)):
        content.update(np.ascontiguousarray(images[index]).tobytes())
    form = str([(key, list(tensor.shape)) for key, tensor in learner.state_dict().items()])
    plain: dict[str, Any] = TypeAdapter(type(settings)).dump_python(settings, mode="json")
    return {
        **{f"setting {key}": value for key, value in plain.items()},
        "detector": name,
        "form of the network": hashlib.sha256(form.encode()).hexdigest()[:16],
        "image size": list(images[0].shape[:2]),
        "number of images": len(images),
        "content of the images": content.hexdigest()[:16],
        "seed": seed,
    }


@contextmanager
def _folder_of(run: TrainingRun, name: str) -> Iterator[Path]:
    """Where this training keeps its checkpoints: a folder of its own in the run's, or one that vanishes.

    Two trainings in one folder would take each other's checkpoints for their own: the second one is refused.
    """
    if run.folder is not None:
        folder = run.folder / name.replace(" ", "-")
        with locked(folder, patience_seconds=PATIENCE_SECONDS):
            yield folder
        return
    with tempfile.TemporaryDirectory(prefix="blemish-") as vanishing:
        yield Path(vanishing)
