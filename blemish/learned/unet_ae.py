"""U-Net autoencoder that restores damaged images: what it changes on a part is a defect.

With plain skip connections a U-Net learns to copy, defects too. Trained to restore good images from synthetically
damaged ones (as the reconstructive network of DRAEM, Zavrtanik et al., ICCV 2021) it learns to copy only what is good;
`corruption=none` keeps the plain form, to show the difference.
"""

from __future__ import annotations

import functools
from typing import Annotated, Literal, cast

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from blemish.detectors.base import DetectorInfo, FitRequest
from blemish.learned.backbone import load_frozen
from blemish.learned.contract import Batch, Learner, Sample, TrainingSettings, check_stride
from blemish.learned.fitting import fit_reconstruction
from blemish.learned.layers import doubling, halving, pixels_from
from blemish.learned.losses import ReconstructionLoss, error_map
from blemish.schema import Backbone, Fit, Image
from blemish.synthesis.augment import augment
from blemish.synthesis.painted import make_defect


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Settings(TrainingSettings):
    """Settings of `unet_ae`."""

    epochs: Annotated[int, Field(ge=1, le=10_000, description="passes over the images")] = 60
    width: Annotated[int, Field(ge=4, le=256, description="channels of the first level")] = 24
    corruption: Annotated[
        Literal["defects", "none"],
        Field(description="restores images with synthetic defects, or redraws them as they are"),
    ] = "defects"
    attention: Annotated[bool, Field(description="gates on the skips (Oktay et al., 2018)")] = False
    loss: Annotated[ReconstructionLoss, Field(description="trained with, and read as the error map")] = "mse+ssim"
    perceptual: Annotated[
        float, Field(ge=0, le=10, description="weight of the difference of backbone features in the loss; 0: none")
    ] = 0.0
    scales: Annotated[int, Field(ge=1, le=4, description="error maps at so many sizes, each half the last")] = 3
    sigma: Annotated[float, Field(ge=0, le=64, description="smoothing of the map in input pixels")] = 3.0


INFO = DetectorInfo(
    name="unet_ae",
    summary="U-Net that restores damaged images; what it changes on a part is a defect",
    paper="Zavrtanik et al., DRAEM: A Discriminatively Trained Reconstruction Embedding for Surface Anomaly "
    "Detection, ICCV 2021 (its reconstructive part)",
    settings=Settings,
    needs_backbone=True,
    needs_torch=True,
    reconstructs=True,
    min_images=2,
    is_order_free=False,
    calibration="split",
)

STRIDE = 16
_MAX_DEFECTS = 3
_DAMAGED_RATIO = 0.8
_MASK_WEIGHT = 1.0


class UnetAe(Learner):
    """Restores; the loss counts the damaged place as much as the rest of the image."""

    def __init__(self, settings: Settings, backbone: Backbone | None) -> None:
        super().__init__()
        self.kind, self.scales, self.perceptual_weight = settings.loss, settings.scales, settings.perceptual
        self.network = UNet(settings.width, settings.attention)
        # Not a part of what is saved or exported: it only teaches.
        self.features: list[_Features] = [_Features(backbone)] if settings.perceptual and backbone else []

    def loss(self, batch: Batch, group: int) -> Tensor:
        restored = self.network(batch.input)
        error = error_map(batch.target, restored, self.kind)
        mask = batch.mask[:, 0]
        loss = error.mean() + _MASK_WEIGHT * (error * mask).sum() / (mask.sum() + 1)
        for features in self.features:
            loss = loss + self.perceptual_weight * features.to(restored.device).difference(batch.target, restored)
        return loss

    def read(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        restored = cast(Tensor, self.network(pixels))
        return torch.stack(error_pyramid(pixels, restored, self.kind, self.scales), 1), restored


def error_pyramid(pixels: Tensor, restored: Tensor, kind: ReconstructionLoss, scales: int) -> list[Tensor]:
    """Error maps [batch, height, width] of the images at full size, half, a quarter, ..., all brought to full size."""
    size = pixels.shape[-2:]
    maps = []
    for scale in range(scales):
        if scale:
            pixels, restored = functional.avg_pool2d(pixels, 2), functional.avg_pool2d(restored.float(), 2)
        error = error_map(pixels, restored, kind)
        maps.append(functional.interpolate(error[:, None], size=size, mode="bilinear", align_corners=False)[:, 0])
    return maps


class UNet(nn.Module):
    """Four levels from half to a sixteenth of the image's size; the skips carry what the levels between need not."""

    def __init__(self, width: int, attention: bool) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.down = nn.ModuleList(
            nn.Sequential(halving(before, after), *_convolution(after, after))
            for before, after in zip([3, *widths[:-1]], widths, strict=True)
        )
        upward = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(doubling(before, after) for before, after in upward)
        self.gates = nn.ModuleList(Gate(after) if attention else nn.Identity() for _, after in upward)
        self.merge = nn.ModuleList(nn.Sequential(*_convolution(2 * after, after)) for _, after in upward)
        self.last = pixels_from(width)
        self.attention = attention

    def forward(self, pixels: Tensor) -> Tensor:
        levels: list[Tensor] = []
        values = pixels
        for down in self.down:
            values = down(values)
            levels.append(values)
        for up, gate, merge, skip in zip(self.up, self.gates, self.merge, levels[-2::-1], strict=True):
            values = up(values)
            values = merge(torch.cat([values, gate(skip, values) if self.attention else skip], 1))
        return cast(Tensor, self.last(values))


def _convolution(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2, inplace=True)]


class Gate(nn.Module):
    """Lets of a skip through what the coarser level asks for, per position (additive attention)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.of_skip = nn.Conv2d(channels, channels // 2, 1)
        self.of_coarse = nn.Conv2d(channels, channels // 2, 1)
        self.weigh = nn.Conv2d(channels // 2, 1, 1)

    def forward(self, skip: Tensor, coarse: Tensor) -> Tensor:
        asked = functional.relu(self.of_skip(skip) + self.of_coarse(coarse))
        return skip * torch.sigmoid(self.weigh(asked))


class _Features:
    """Backbone features, compared channel by channel at unit length (as LPIPS does, without its learned weights)."""

    def __init__(self, backbone: Backbone) -> None:
        deepest = {layer.stride: layer.name for layer in backbone.layers if layer.stride <= 16}
        self.network = load_frozen(backbone, list(deepest.values()))
        self.mean = torch.tensor(backbone.mean).reshape(1, 3, 1, 1)
        self.std = torch.tensor(backbone.std).reshape(1, 3, 1, 1)

    def to(self, device: torch.device) -> _Features:
        self.network.to(device)
        self.mean, self.std = self.mean.to(device), self.std.to(device)
        return self

    def difference(self, first: Tensor, second: Tensor) -> Tensor:
        """The mean over layers of the squared difference of unit feature vectors; one number."""
        both = [self.network((pixels.float() * 255 - self.mean) / self.std) for pixels in (first, second)]
        differences = [
            (functional.normalize(one.float(), dim=1) - functional.normalize(other.float(), dim=1))
            .square()
            .sum(1)
            .mean()
            for one, other in zip(*both, strict=True)
        ]
        return torch.stack(differences).mean()


def fit(request: FitRequest[Settings]) -> Fit:
    """See `blemish.detectors.base.FitFunction`; the backbone is used where `perceptual` is above 0."""
    settings = request.settings
    height, width = request.input_hw
    check_stride(height, width, STRIDE, INFO.name)
    return fit_reconstruction(
        request,
        lambda: UnetAe(settings, request.backbone),
        functools.partial(prepare_damaged, settings),
        name=INFO.name,
        sigma=settings.sigma,
    )


def prepare_damaged(settings: Settings, index: int, image: Image, rng: np.random.Generator) -> Sample:
    """An augmented good image to be restored from itself with up to three synthetic defects on it."""
    good = augment(image, rng, settings.augmentation)
    damaged, mask = good, np.zeros(good.shape[:2], bool)
    if settings.corruption == "defects" and rng.random() < _DAMAGED_RATIO:
        for _ in range(1 + int(rng.integers(_MAX_DEFECTS))):
            damaged, changed = make_defect(damaged, rng)
            mask |= changed
    return Sample(damaged, good, mask)
