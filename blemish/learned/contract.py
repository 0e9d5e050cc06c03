"""The contract between a family of learned detectors and the one training loop.

A family gives a `Learner` (its network, its loss, how it reads an anomaly map), `Samples` (images and what is done to
them before each step) and its settings, which add to `TrainingSettings`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as settings_dataclass
from torch import Tensor, nn

from blemish.errors import SettingsError
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


def pixels_of(images: Sequence[Image] | NDArray[np.uint8]) -> Tensor:
    """The images as float32 [n, 3, height, width] from 0 to 1."""
    stacked = torch.from_numpy(np.stack([np.ascontiguousarray(image) for image in images]))
    return stacked.permute(0, 3, 1, 2).to(torch.float32).div_(255).contiguous(memory_format=torch.channels_last)


def check_stride(height: int, width: int, stride: int, name: str) -> None:
    """Raises SettingsError where a network that halves its input again and again cannot take images of this size."""
    if height < 2 * stride or width < 2 * stride or height % stride or width % stride:
        nearest = max(2 * stride, round(min(height, width) / stride) * stride)
        raise SettingsError(
            f"{name} takes images whose sides are multiples of {stride} px and at least {2 * stride} px, "
            f"found {width} x {height} px: set the size to {nearest}"
        )
