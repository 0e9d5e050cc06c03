"""The one training loop of all learned detectors: what they have in common, run by PyTorch Lightning.

A family gives a `Learner` (its network, its loss, how it reads an anomaly map) and `Samples` (images and what is done
to them before each step); `train` returns the learner with the weights of its best epoch on held-out good images.
Every epoch has random states of its own, so that a resumed training ends where an uninterrupted one does.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as settings_dataclass
from torch import Tensor, nn

from blemish.detectors.base import FitRequest
from blemish.errors import DataError, SettingsError
from blemish.learned.run import TrainingRun, current_run
from blemish.schema import Image, Mask
from blemish.synthesis.augment import Augmentation, Declared


@settings_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TrainingSettings:
    """What every learned detector lets a user set about its training; a family adds its own and its own defaults."""

    epochs: Annotated[int, Field(ge=1, le=10_000, description="passes over the images")] = 50
    batch_size: Annotated[int, Field(ge=1, le=1024, description="images per step")] = 16
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0, description="of the first epoch")] = 1e-3
    schedule: Annotated[
        Literal["none", "cosine", "plateau"],
        Field(
            description="how the learning rate falls: cosine over all epochs, or to a fifth after 5 without progress"
        ),
    ] = "cosine"
    patience: Annotated[
        int, Field(ge=0, description="stops after so many epochs without progress on held-out good images; 0: never")
    ] = 20
    validation_ratio: Annotated[float, Field(gt=0.0, le=0.5, description="share of good images held out for that")] = (
        0.15
    )
    augmentation: Annotated[
        Declared, Field(description="what leaves a good part good: rotation=180,flip_horizontal; or none")
    ] = Augmentation()


class Sample(NamedTuple):
    """What one step sees of one image: what goes in, what should come out, where the two differ by damage."""

    input: Image
    target: Image
    mask: Mask


class Batch(NamedTuple):
    """Samples as float32 tensors: pixels [batch, 3, height, width] from 0 to 1, mask [batch, 1, height, width]."""

    input: Tensor
    target: Tensor
    mask: Tensor


Prepare = Callable[[int, Image, np.random.Generator], Sample]
"""Makes a sample of the image with this index; all its chance comes from the generator."""


@dataclass(frozen=True)
class Samples:
    """Images of one size and what is done to each before a step; from `num_good` on they are defective (None: none)."""

    images: Sequence[Image]
    prepare: Prepare
    num_good: int | None = None


class Learner(nn.Module, ABC):
    """A network with its loss. `parameter_groups` beyond one are trained in turn, as adversaries are."""

    @abstractmethod
    def loss(self, batch: Batch, group: int) -> Tensor:
        """The loss that the parameters of this group make smaller; one finite number."""

    @abstractmethod
    def read(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """The raw anomaly map [batch, map height, map width] and, where the network makes one, the reconstruction."""

    def validation_loss(self, batch: Batch) -> Tensor:
        """What tells good epochs from bad ones on held-out good images; smaller is better."""
        return self.loss(batch, 0)

    def parameter_groups(self) -> tuple[Sequence[nn.Parameter], ...]:
        """The parameters that each optimizer changes."""
        return ([parameter for parameter in self.parameters() if parameter.requires_grad],)

    def optimizer(self, parameters: Sequence[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """The optimizer of one group of parameters."""
        return torch.optim.Adam(parameters, lr=learning_rate)


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
    """The learner of its best epoch on the samples; settings, seed and progress are those of the request.

    `build` is called under the seed. Runs as the surrounding `training_run` says.

    Raises DataError for images that cannot be trained on, TrainingError where the loss stops being a number or a
    checkpoint cannot be written, SettingsError where the checkpoint to resume from is of another training.
    """
    # Imported here: the training library takes seconds to load, and reading settings needs none of it.
    from blemish.learned.loop import run_loop

    run, settings, seed = current_run(), request.settings, request.seed
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
    with _folder_of(run, name) as folder:
        history, best_epoch = run_loop(
            learner,
            Samples(images, samples.prepare, samples.num_good),
            training,
            validation,
            settings,
            identity=_identity(learner, images, settings, name, seed),
            folder=folder,
            run=run,
            name=name,
            seed=seed,
            progress=request.progress,
            cancel=request.cancel,
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


def pixels_of(images: Sequence[Image] | NDArray[np.uint8]) -> Tensor:
    """The images as float32 [n, 3, height, width] from 0 to 1."""
    stacked = torch.from_numpy(np.stack([np.ascontiguousarray(image) for image in images]))
    return stacked.permute(0, 3, 1, 2).to(torch.float32).div_(255).contiguous(memory_format=torch.channels_last)


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


def check_stride(height: int, width: int, stride: int, name: str) -> None:
    """Raises SettingsError where a network that halves its input again and again cannot take images of this size."""
    if height < 2 * stride or width < 2 * stride or height % stride or width % stride:
        nearest = max(2 * stride, round(min(height, width) / stride) * stride)
        raise SettingsError(
            f"{name} takes images whose sides are multiples of {stride} px and at least {2 * stride} px, "
            f"found {width} x {height} px: set the size to {nearest}"
        )


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
    """Where this training keeps its checkpoints: a folder of its own in the run's, or one that vanishes."""
    if run.folder is not None:
        yield run.folder / name.replace(" ", "-")
        return
    with tempfile.TemporaryDirectory(prefix="blemish-") as folder:
        yield Path(folder)


def mean_of(values: Sequence[float]) -> float:
    """The mean, NaN of nothing."""
    return math.fsum(values) / len(values) if values else math.nan
