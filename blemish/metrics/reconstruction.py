"""How close a reconstruction comes to its image: MSE, PSNR and SSIM."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.errors import MetricError

_WINDOW, _SIGMA, _K1, _K2 = 11, 1.5, 0.01, 0.03


def mse(image: NDArray[Any], reconstruction: NDArray[Any]) -> float:
    """The mean squared difference of pixel values.

    >>> mse(np.zeros((2, 2)), np.ones((2, 2)))
    1.0
    """
    one, other = _pair(image, reconstruction, "mse")
    return float(np.mean((one - other) ** 2))


def psnr(image: NDArray[Any], reconstruction: NDArray[Any], peak: float = 255.0) -> float:
    """The peak signal to noise ratio in decibels; `peak` is the range of pixel values. Infinite for equal images.

    >>> psnr(np.zeros((2, 2)), np.full((2, 2), 25.5))
    20.0
    """
    error = mse(image, reconstruction)
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def ssim(image: NDArray[Any], reconstruction: NDArray[Any], peak: float = 255.0) -> float:
    """The mean structural similarity (Wang et al. 2004): Gaussian window of 11 x 11 pixels with sigma 1.5, K1 = 0.01,
    K2 = 0.03, where the window lies within the image; the mean over channels for (height, width, channels).

    >>> ssim(np.eye(16) * 255, np.eye(16) * 255)
    1.0
    """
    one, other = _pair(image, reconstruction, "ssim")
    if one.ndim not in (2, 3) or min(one.shape[:2]) < _WINDOW:
        raise MetricError(f"ssim needs images of at least {_WINDOW} x {_WINDOW} pixels; found shape {one.shape}")
    first, second = _smooth(one), _smooth(other)
    # Weighted variances and covariance, not of samples: no division by n - 1.
    variances = _smooth(one * one) - first**2 + _smooth(other * other) - second**2
    covariance = _smooth(one * other) - first * second
    small, large = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    similarity = (2 * first * second + small) * (2 * covariance + large)
    return float(np.mean(similarity / ((first**2 + second**2 + small) * (variances + large))))


def _pair(image: NDArray[Any], reconstruction: NDArray[Any], metric: str) -> tuple[NDArray[np.float64], ...]:
    one, other = np.asarray(image, np.float64), np.asarray(reconstruction, np.float64)
    if one.shape != other.shape or one.size == 0:
        raise MetricError(f"{metric} needs two images of one shape; found {one.shape} and {other.shape}")
    return one, other


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Gaussian-weighted means over all windows that lie within the image."""
    offsets = np.arange(_WINDOW) - _WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    height, width = values.shape[0] - _WINDOW + 1, values.shape[1] - _WINDOW + 1
    down = sum((weight * values[k : k + height] for k, weight in enumerate(weights)), np.zeros(1))
    return sum((weight * down[:, k : k + width] for k, weight in enumerate(weights)), np.zeros(1))
