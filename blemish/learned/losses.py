"""How far a reconstruction is from its image: losses to train with, and the error map of the same measure."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

ReconstructionLoss = Literal["mse", "ssim", "mse+ssim"]

_RADIUS = 5
_SIGMA = 1.5


def ssim_map(first: Tensor, second: Tensor) -> Tensor:
    """The structural similarity per position and color, -1 to 1, of pixels [batch, 3, height, width] from 0 to 1.

    Wang et al., 2004: Gaussian window of 11 x 11 and sigma 1.5, edges mirrored. Computed in float32 whatever the
    surrounding precision.
    """
    with torch.autocast(first.device.type, enabled=False):
        # Around the middle gray, so that less is lost where variances are differences of nearly equal numbers.
        first, second = first.float() - 0.5, second.float() - 0.5
        moments = _blur(torch.cat([first, second, first * first, second * second, first * second], 1))
        first, second, square_first, square_second, product = moments.chunk(5, 1)
        covariance = product - first * second
        variances = square_first + square_second - first * first - second * second
        first, second = first + 0.5, second + 0.5
        luminance = (2 * first * second + 0.01**2) / (first * first + second * second + 0.01**2)
        return luminance * (2 * covariance + 0.03**2) / (variances + 0.03**2)


def error_map(pixels: Tensor, reconstruction: Tensor, loss: ReconstructionLoss) -> Tensor:
    """The error per position [batch, height, width], meaned over the colors.

    `mse`: squared difference; `ssim`: half of 1 - SSIM, 0 to 1; `mse+ssim`: their sum.
    """
    error = torch.zeros_like(pixels[:, 0], dtype=torch.float32)
    if "mse" in loss:
        error = error + (pixels.float() - reconstruction.float()).square().mean(1)
    if "ssim" in loss:
        error = error + (1 - ssim_map(pixels, reconstruction).mean(1)) / 2
    return error


def reconstruction_loss(pixels: Tensor, reconstruction: Tensor, loss: ReconstructionLoss) -> Tensor:
    """The mean of the error map; one number."""
    return error_map(pixels, reconstruction, loss).mean()


def _blur(values: Tensor) -> Tensor:
    """Each channel under the window; depthwise along rows, then columns."""
    channels = int(values.shape[1])  # a plain number: an exported convolution needs constant weights
    distance = torch.arange(-_RADIUS, _RADIUS + 1, device=values.device, dtype=torch.float32)
    weights = torch.exp(-0.5 * (distance / _SIGMA) ** 2)
    weights = weights / weights.sum()
    size = 2 * _RADIUS + 1
    values = functional.pad(values, (_RADIUS,) * 4, mode="reflect")
    values = functional.conv2d(values, weights.view(1, 1, 1, size).repeat(channels, 1, 1, 1), groups=channels)
    return functional.conv2d(values, weights.view(1, 1, size, 1).repeat(channels, 1, 1, 1), groups=channels)
