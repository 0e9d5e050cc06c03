"""Variational autoencoder: a defect is drawn wrongly, or its code is unlikely among those of good parts.

The decoder's variance is the optimal one, the mean squared error (Rybkin et al., Simple and Effective VAE Training with
Calibrated Decoders, ICML 2021): no weight between the two terms to tune, and no collapse of the code.
"""

from __future__ import annotations

import functools
from typing import Annotated, Literal, cast

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from blemish.detectors.base import DetectorInfo, FitRequest
from blemish.learned.contract import Batch, Learner, TrainingSettings, check_stride
from blemish.learned.fitting import fit_reconstruction, prepare_augmented
from blemish.learned.layers import decoder, doubled, encoder
from blemish.learned.losses import error_map
from blemish.schema import Fit


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Settings(TrainingSettings):
    """Settings of `vae`."""

    epochs: Annotated[int, Field(ge=1, le=10_000, description="passes over the images")] = 60
    width: Annotated[
        int, Field(ge=4, le=256, description="channels of the first layer; doubled by each further one")
    ] = 32
    latent: Annotated[int, Field(ge=1, le=512, description="code channels per position, one per 16 x 16 pixels")] = 32
    score: Annotated[
        Literal["elbo", "reconstruction"],
        Field(description="evidence lower bound: error and unlikely codes; or the error alone"),
    ] = "elbo"
    sigma: Annotated[float, Field(ge=0, le=64, description="smoothing of the map in input pixels")] = 3.0


INFO = DetectorInfo(
    name="vae",
    summary="variational autoencoder; scored by the evidence lower bound, or by reconstruction alone",
    paper="Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014",
    settings=Settings,
    needs_backbone=False,
    needs_torch=True,
    reconstructs=True,
    min_images=2,
    is_order_free=False,
    calibration="split",
)

STRIDE = 16


class Vae(Learner):
    """Encoder to a Gaussian per position and code channel, decoder from a draw of it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        widths = doubled(settings.width, 4)
        self.score = settings.score
        self.encoder = encoder(widths)
        self.to_code = nn.Conv2d(widths[-1], 2 * settings.latent, 1)
        self.from_code = nn.Conv2d(settings.latent, widths[-1], 1)
        self.decoder = decoder(widths[::-1])

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the code, float32 [batch, latent, height / 16, width / 16]."""
        mean, log_variance = self.to_code(self.encoder(pixels)).float().chunk(2, 1)
        return mean, log_variance.clamp(-10, 10)

    def decode(self, code: Tensor) -> Tensor:
        return cast(Tensor, self.decoder(self.from_code(code)).float())

    def loss(self, batch: Batch, group: int) -> Tensor:
        mean, log_variance = self.encode(batch.input)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        error = (batch.target - self.decode(code)).square().mean()
        # Negative evidence lower bound per color value, in nats: half the log of the error, and the code's share.
        return 0.5 * error.log() + divergence(mean, log_variance).sum((1, 2)).mean() / batch.target[0].numel()

    def validation_loss(self, batch: Batch) -> Tensor:
        mean, log_variance = self.encode(batch.input)
        error = (batch.target - self.decode(mean)).square().mean()
        return 0.5 * error.log() + divergence(mean, log_variance).sum((1, 2)).mean() / batch.target[0].numel()

    def read(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        mean, log_variance = self.encode(pixels)
        drawn = self.decode(mean)
        error = error_map(pixels, drawn, "mse")
        if self.score == "reconstruction":
            return error, drawn
        unlikely = divergence(mean, log_variance)[:, None]
        spread = functional.interpolate(unlikely, size=pixels.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        return torch.stack([error, spread], 1), drawn


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """How unlikely the code is per position [batch, rows, columns]: divergence from the standard Gaussian in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


def fit(request: FitRequest[Settings]) -> Fit:
    """See `blemish.detectors.base.FitFunction`."""
    settings = request.settings
    height, width = request.input_hw
    check_stride(height, width, STRIDE, INFO.name)
    return fit_reconstruction(
        request,
        lambda: Vae(settings),
        functools.partial(prepare_augmented, settings.augmentation),
        name=INFO.name,
        sigma=settings.sigma,
    )
