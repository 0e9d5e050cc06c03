"""Convolutional autoencoder: what it cannot draw as a good part is a defect.

Two published forms: a spatial bottleneck of 1/16 of the image's size (four convolution blocks down, four up), and one
feature vector (`latent`; three convolutions down, three up), which brings its own published defaults of the training.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Annotated, Any, cast

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs
from torch import Tensor, nn

from blemish.detectors.base import DetectorInfo, FitRequest
from blemish.learned.contract import Batch, Learner, TrainingSettings, check_stride
from blemish.learned.fitting import fit_reconstruction, prepare_augmented
from blemish.learned.layers import decoder, doubled, encoder
from blemish.learned.losses import ReconstructionLoss, error_map, reconstruction_loss
from blemish.schema import Fit

VECTOR_DEFAULTS = {"epochs": 200, "batch_size": 32, "learning_rate": 2e-4, "schedule": "none", "patience": 0}
"""How the form with a feature vector is trained unless said otherwise."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Settings(TrainingSettings):
    """Settings of `cae`."""

    latent: Annotated[
        int,
        Field(
            ge=0,
            le=4096,
            description="length of the feature vector in the middle (200 epochs at 2e-4); 0: a spatial bottleneck",
        ),
    ] = 0
    width: Annotated[
        int, Field(ge=4, le=256, description="channels of the first layer; doubled by each further one")
    ] = 32
    loss: Annotated[ReconstructionLoss, Field(description="trained with, and read as the error map")] = "mse"
    sigma: Annotated[float, Field(ge=0, le=64, description="smoothing of the map in input pixels")] = 3.0

    @model_validator(mode="before")
    @classmethod
    def _of_this_form(cls, given: Any) -> Any:
        """The form with a feature vector has defaults of its own."""
        values = dict(given.kwargs or {}) if isinstance(given, ArgsKwargs) else dict(given)
        is_vector = str(values.get("latent", 0)).strip() not in ("0", "")
        return {**VECTOR_DEFAULTS, **values} if is_vector else values


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
            widths = doubled(settings.width, 4)
            self.network = nn.Sequential(encoder(widths), decoder(widths[::-1]))

    def loss(self, batch: Batch, group: int) -> Tensor:
        return reconstruction_loss(batch.target, self.network(batch.input), self.kind)

    def read(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        reconstruction = cast(Tensor, self.network(pixels))
        return error_map(pixels, reconstruction, self.kind), reconstruction


def vector_network(width: int, latent: int, height: int, image_width: int) -> nn.Sequential:
    """Three convolutions 3 x 3 of stride 2 to a vector of `latent` values, and three transposed ones back."""
    widths = doubled(width, 3)
    small = (widths[-1], height // 8, image_width // 8)
    steps: list[nn.Module] = []
    for before, after in itertools.pairwise([3, *widths]):
        steps += [nn.Conv2d(before, after, 3, 2, 1), nn.ReLU()]
    steps += [nn.Flatten(), nn.Linear(math.prod(small), latent)]
    steps += [nn.Linear(latent, math.prod(small)), nn.ReLU(), nn.Unflatten(1, small)]
    for before, after in itertools.pairwise(widths[::-1]):
        steps += [nn.ConvTranspose2d(before, after, 3, 2, 1, output_padding=1), nn.ReLU()]
    return nn.Sequential(*steps, nn.ConvTranspose2d(width, 3, 3, 2, 1, output_padding=1), nn.Sigmoid())


def fit(request: FitRequest[Settings]) -> Fit:
    """See `blemish.detectors.base.FitFunction`."""
    settings = request.settings
    height, width = request.input_hw
    check_stride(height, width, 8 if settings.latent else 16, INFO.name)
    return fit_reconstruction(
        request,
        lambda: Cae(settings, height, width),
        functools.partial(prepare_augmented, settings.augmentation),
        name=INFO.name,
        sigma=settings.sigma,
    )
