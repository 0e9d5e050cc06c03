"""GANomaly: encodes, redraws and encodes again; a defect is lost between the two codes (Akcay et al., ACCV 2018).

The codes keep their places (one per 16 x 16 pixels), so that the difference of codes is a map, not one number.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Annotated, Literal

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
    """Settings of `ganomaly`."""

    learning_rate: Annotated[float, Field(gt=0.0, le=1.0, description="of the first epoch")] = 2e-4
    width: Annotated[
        int, Field(ge=4, le=256, description="channels of the first layer; doubled by each further one")
    ] = 32
    latent: Annotated[int, Field(ge=1, le=512, description="code channels per position, one per 16 x 16 pixels")] = 64
    score: Annotated[
        Literal["both", "code", "reconstruction"],
        Field(description="what the map shows: the difference of codes, of pixels, or both"),
    ] = "both"
    sigma: Annotated[float, Field(ge=0, le=64, description="smoothing of the map in input pixels")] = 3.0


INFO = DetectorInfo(
    name="ganomaly",
    summary="adversarially trained encoder-decoder-encoder; compares the codes before and after redrawing",
    paper="Akcay et al., GANomaly: Semi-Supervised Anomaly Detection via Adversarial Training, ACCV 2018",
    settings=Settings,
    needs_backbone=False,
    needs_torch=True,
    reconstructs=True,
    min_images=2,
    is_order_free=False,
    calibration="split",
)

STRIDE = 16
# The paper's weights of adversarial, contextual and encoder loss.
_ADVERSARIAL, _CONTEXTUAL, _ENCODER = 1.0, 50.0, 1.0


class Ganomaly(Learner):
    """Generator (encoder, decoder, second encoder) in group 0 against a discriminator in group 1."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        widths = doubled(settings.width, 4)
        self.score = settings.score
        self.encoder = nn.Sequential(encoder(widths), nn.Conv2d(widths[-1], settings.latent, 1))
        self.decoder = nn.Sequential(nn.Conv2d(settings.latent, widths[-1], 1), decoder(widths[::-1]))
        self.second_encoder = nn.Sequential(encoder(widths), nn.Conv2d(widths[-1], settings.latent, 1))
        self.discriminator = encoder(widths)
        self.judge = nn.Conv2d(widths[-1], 1, 1)

    def parameter_groups(self) -> tuple[Sequence[nn.Parameter], ...]:
        generator = [*self.encoder.parameters(), *self.decoder.parameters(), *self.second_encoder.parameters()]
        return generator, [*self.discriminator.parameters(), *self.judge.parameters()]

    def optimizer(self, parameters: Sequence[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=learning_rate, betas=(0.5, 0.999))

    def redraw(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The code, the image drawn from it, and that image's code."""
        code = self.encoder(pixels)
        drawn = self.decoder(code)
        return code.float(), drawn.float(), self.second_encoder(drawn).float()

    def loss(self, batch: Batch, group: int) -> Tensor:
        if group == 1:
            with torch.no_grad():
                drawn = self.decoder(self.encoder(batch.input))
            verdicts = [self.judge(self.discriminator(pixels)).float() for pixels in (batch.target, drawn)]
            truths = (torch.ones_like(verdicts[0]), torch.zeros_like(verdicts[1]))
            return functional.binary_cross_entropy_with_logits(torch.cat(verdicts), torch.cat(truths))
        code, drawn, code_again = self.redraw(batch.input)
        matching = functional.mse_loss(self.discriminator(drawn).float(), self.discriminator(batch.target).float())
        contextual = functional.l1_loss(drawn, batch.target)
        return _ADVERSARIAL * matching + _CONTEXTUAL * contextual + _ENCODER * functional.mse_loss(code_again, code)

    def validation_loss(self, batch: Batch) -> Tensor:
        # Without the adversarial part: a discriminator of each epoch judges by other standards.
        code, drawn, code_again = self.redraw(batch.input)
        return _CONTEXTUAL * functional.l1_loss(drawn, batch.target) + _ENCODER * functional.mse_loss(code_again, code)

    def read(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        code, drawn, code_again = self.redraw(pixels)
        error = error_map(pixels, drawn, "mse")
        lost = (code - code_again).square().mean(1, keepdim=True)
        spread = functional.interpolate(lost, size=pixels.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        maps = {"both": [error, spread], "code": [spread], "reconstruction": [error]}[self.score]
        return torch.stack(maps, 1), drawn


def fit(request: FitRequest[Settings]) -> Fit:
    """See `blemish.detectors.base.FitFunction`."""
    settings = request.settings
    height, width = request.input_hw
    check_stride(height, width, STRIDE, INFO.name)
    return fit_reconstruction(
        request,
        lambda: Ganomaly(settings),
        functools.partial(prepare_augmented, settings.augmentation),
        name=INFO.name,
        sigma=settings.sigma,
    )
