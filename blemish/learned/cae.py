"""Convolutional autoencoder: what it cannot draw as a good part is a defect.

Two published forms: with a spatial bottleneck (Bergmann et al., VISAPP 2019, use its like), and with one feature
vector (`latent`), after Bergmann et al., MVTec AD, CVPR 2019.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Annotated, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from blemish.data.augment import Augmentation, augment
from blemish.detectors.base import DetectorInfo
from blemish.graph.grid import cell_grid
from blemish.learned.fitting import Made, fit_learned
from blemish.learned.losses import ReconstructionLoss, error_map, reconstruction_loss
from blemish.learned.reading import MapReader, OneGraph, raw_maps
from blemish.learned.training import Batch, Learner, Sample, Samples, TrainingSettings, check_stride, train
from blemish.schema import Backbone, Fit, Image, Progress, Reduction


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Settings(TrainingSettings):
    """Settings of `cae`."""

    latent: Annotated[
        int, Field(ge=0, le=4096, description="length of the feature vector in the middle; 0: a spatial bottleneck")
    ] = 0
    width: Annotated[
        int, Field(ge=4, le=256, description="channels of the first layer; doubled by each further one")
    ] = 32
    loss: Annotated[ReconstructionLoss, Field(description="trained with, and read as the error map")] = "mse"
    sigma: Annotated[float, Field(ge=0, le=64, description="smoothing of the map in input pixels")] = 4.0


INFO = DetectorInfo(
    name="cae",
    summary="convolutional autoencoder; what it cannot redraw is a defect",
    paper="Bergmann et al., Improving Unsupervised Defect Segmentation by Applying Structural Similarity to "
    "Autoencoders, VISAPP 2019",
    settings=Settings,
    needs_backbone=False,
    needs_torch=True,
    reconstructs=True,
    min_images=2,
    is_order_free=False,
    calibration="split",
)


class Cae(Learner):
    """Encoder, bottleneck, decoder; the loss is also the error map."""

    def __init__(self, settings: Settings, height: int, width: int) -> None:
        super().__init__()
        self.kind = settings.loss
        if settings.latent:
            self.network = vector_network(settings.width, settings.latent, height, width)
        else:
            self.network = spatial_network(settings.width)

    def loss(self, batch: Batch, group: int) -> Tensor:
        return reconstruction_loss(batch.target, self.network(batch.input), self.kind)

    def read(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        reconstruction = cast(Tensor, self.network(pixels))
        return error_map(pixels, reconstruction, self.kind), reconstruction


def spatial_network(width: int) -> nn.Sequential:
    """Four halvings to 8 x `width` channels and four doublings back, batch norm and LeakyReLU between."""
    channels = [3, width, 2 * width, 4 * width, 8 * width]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(channels):
        layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
    for before, after in itertools.pairwise(channels[:0:-1]):
        layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(width, 3, 4, 2, 1), nn.Sigmoid())


def vector_network(width: int, latent: int, height: int, image_width: int) -> nn.Sequential:
    """Three convolutions 3 x 3 of stride 2 to a vector of `latent` values, and three transposed ones back."""
    small = (height // 8, image_width // 8)
    deepest = 4 * width
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(2 * width, deepest, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(deepest * small[0] * small[1], latent),
        nn.Linear(latent, deepest * small[0] * small[1]),
        nn.ReLU(),
        nn.Unflatten(1, (deepest, *small)),
        nn.ConvTranspose2d(deepest, 2 * width, 3, 2, 1, output_padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 3, 2, 1, output_padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(width, 3, 3, 2, 1, output_padding=1),
        nn.Sigmoid(),
    )


def fit(
    images: Sequence[Image],
    settings: Settings,
    *,
    backbone: Backbone | None,
    seed: int,
    folds: Sequence[NDArray[np.intp]],
    progress: Progress,
) -> Fit:
    """See `blemish.detectors.base.FitFunction`."""
    height, width = images[0].shape[:2]
    check_stride(height, width, 8 if settings.latent else 16, INFO.name)
    reduction = Reduction("max")

    def make(some: Sequence[Image], name: str) -> Made:
        trained = train(
            lambda: Cae(settings, height, width),
            Samples(some, functools.partial(prepare_augmented, settings.augmentation)),
            settings,
            name=name,
            seed=seed,
            progress=progress,
        )
        reader = MapReader(cell_grid((height, width), 1), (height, width), sigma=settings.sigma, reduction=reduction)
        reader.learn_usual(raw_maps(trained.learner, some))
        return Made(OneGraph(trained.learner, reader), trained.facts)

    return fit_learned(make, images, name=INFO.name, reduction=reduction, folds=folds)


def prepare_augmented(augmentation: Augmentation, index: int, image: Image, rng: np.random.Generator) -> Sample:
    """An augmented good image, to be redrawn as it is."""
    changed = augment(image, rng, augmentation)
    return Sample(changed, changed, np.zeros(changed.shape[:2], bool))
