"""The rules by which stored values become 8-bit RGB; nothing depends on a picture's content."""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.images.container import ContainerError, Stored


def to_rgb(stored: Stored, bits: int | None = None) -> NDArray[np.uint8]:
    """uint8 (height, width, 3) of gray, RGB, or RGB with one more channel, which is dropped.

    `bits` tells how many bits the values of 16-bit numbers really have, where these are stored unshifted.
    """
    pixels, white = stored.pixels, stored.white
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = pixels[..., :3]
    if bits is not None and pixels.dtype == np.uint16 and white == 65535:
        white = _largest_of(pixels, bits)
    eight_bit = _to_uint8(np.ascontiguousarray(pixels), white)
    if eight_bit.ndim == 2 or eight_bit.shape[2] == 1:
        return np.asarray(cv2.cvtColor(eight_bit, cv2.COLOR_GRAY2RGB), np.uint8)
    return eight_bit


def look_up(indices: NDArray[Any], colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The color (n, 3) of each index (height, width)."""
    table = np.zeros((1, 256, 3), np.uint8)
    table[0, : len(colors)] = colors
    three = cv2.cvtColor(np.ascontiguousarray(indices, np.uint8), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.LUT(three, table), np.uint8)


def _largest_of(pixels: NDArray[Any], bits: int) -> int:
    white, brightest = (1 << bits) - 1, int(pixels.max())
    if brightest > white:
        raise ContainerError(
            f"it holds the value {brightest}, but values of {bits} bits end at {white}: give the number of bits that "
            "the camera really has"
        )
    return white


def _to_uint8(pixels: NDArray[Any], white: int | None) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return cast("NDArray[np.uint8]", pixels)
    if pixels.dtype == np.bool_:
        return cast("NDArray[np.uint8]", pixels.astype(np.uint8) * np.uint8(255))
    if pixels.dtype == np.uint16:
        if white == 65535:
            # value / 257 is never halfway between two whole numbers, so the rounding is exact.
            return np.asarray(cv2.convertScaleAbs(pixels, alpha=1 / 257), np.uint8)
        assert white is not None
        table = np.rint(np.arange(white + 1) * (255 / white)).astype(np.uint8)  # never halfway either: white is odd
        return cast("NDArray[np.uint8]", table[pixels])
    if np.issubdtype(pixels.dtype, np.floating):
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= 0 and high <= 1):  # also refuses NaN
            raise ContainerError(
                f"floating point pixels must lie in [0, 1], found {low:g} to {high:g}; scale them first"
            )
        return cast("NDArray[np.uint8]", np.rint(pixels * 255).astype(np.uint8))
    raise ContainerError(f"pixels of type {pixels.dtype}; convert them to uint8, uint16, bool or float in [0, 1]")
