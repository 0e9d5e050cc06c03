"""How far a reconstruction is from its image: losses to train with, and the error map of the same measure."""

from __future__ import annotations

from typing import Literal

import torch
from kornia.metrics import ssim
from torch import Tensor

ReconstructionLoss = Literal["mse", "ssim", "mse+ssim"]
SSIM_WINDOW = 11


def error_map(pixels: Tensor, reconstruction: Tensor, loss: ReconstructionLoss) -> Tensor:
    """The error per position [batch, height, width], meaned over the colors.

    `mse`: squared difference; `ssim`: half of 1 - SSIM (Wang et al., 2004), 0 to 1; `mse+ssim`: their sum.
    """
    error = torch.zeros_like(pixels[:, 0], dtype=torch.float32)
    if "mse" in loss:
        error = error + (pixels.float() - reconstruction.float()).square().mean(1)
    if "ssim" in loss:
        error = error + (1 - ssim(pixels.float(), reconstruction.float(), SSIM_WINDOW).mean(1)) / 2
    return error


def reconstruction_loss(pixels: Tensor, reconstruction: Tensor, loss: ReconstructionLoss) -> Tensor:
    """The mean of the error map; one number."""
    return error_map(pixels, reconstruction, loss).mean()
