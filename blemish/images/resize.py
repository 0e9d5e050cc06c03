"""The resizing rules of the package, one each for images, anomaly maps and masks, and the choice of an input size.

Training, evaluation, inspection and exported programs all use `resize_image`; nothing else resizes images.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import cv2
import numpy as np

from blemish.errors import SettingsError
from blemish.schema import AnomalyMap, Image, Mask

RESIZE_RULE = "area"
"""Name of the image rule, as bundles record it."""


def resize_image(image: Image, hw: tuple[int, int]) -> Image:
    """The image stretched to (height, width) by the rule "area".

    A side that shrinks is averaged over areas (OpenCV's INTER_AREA), then a side that grows is interpolated linearly
    (INTER_LINEAR). The ratio of the sides is not kept: `choose_input_hw` chooses a size that fits.
    """
    height, width = image.shape[:2]
    shrunk_hw = (min(height, hw[0]), min(width, hw[1]))
    if shrunk_hw != (height, width):
        image = np.asarray(cv2.resize(image, shrunk_hw[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    if shrunk_hw != hw:
        image = np.asarray(cv2.resize(image, hw[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
    return image


def resize_map(anomaly_map: AnomalyMap, hw: tuple[int, int]) -> AnomalyMap:
    """The anomaly map at (height, width), bilinear with half-pixel centers (OpenCV's INTER_LINEAR).

    This is the rule by which maps are scored at the resolution of their masks.
    """
    if anomaly_map.shape == hw:
        return anomaly_map
    return np.asarray(cv2.resize(anomaly_map, hw[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def choose_input_hw(
    sizes: Sequence[tuple[int, int]], size: int, multiple: int = 32, max_aspect: float = 4
) -> tuple[int, int]:
    """The input size (height, width) for images of these sizes: the shorter side about `size`, the ratio kept.

    The ratio is the median over the images, at most `max_aspect` to 1. Both sides are rounded to a multiple of
    `multiple`, so that feature maps of all strides fit.

    >>> choose_input_hw([(1255, 500), (1250, 500), (1262, 500)], 256)
    (640, 256)
    """
    if not sizes:
        raise SettingsError("the input size cannot be chosen without images")
    if size < multiple:
        raise SettingsError(f"input size {size}: the smallest is {multiple}")
    # The median of logarithms treats tall and wide images alike.
    log_aspect = statistics.median(math.log(height / width) for height, width in sizes)
    aspect = min(math.exp(abs(log_aspect)), max_aspect)
    short, long = (round(side / multiple) * multiple for side in (size, size * aspect))
    return (long, short) if log_aspect > 0 else (short, long)


def check_side(size: int, multiple: int = 32) -> int:
    """The size, a multiple of `multiple`: what a person asks for is never rounded. Raises SettingsError.

    >>> check_side(250)
    Traceback (most recent call last):
    ...
    blemish.errors.SettingsError: size 250 is not a multiple of 32; use 256 or 224
    """
    if size < multiple:
        raise SettingsError(f"size {size} is too small; the smallest is {multiple}")
    nearest = round(size / multiple) * multiple
    if size != nearest:
        other = nearest + multiple if size > nearest else nearest - multiple
        others = f" or {other}" if other >= multiple else ""
        raise SettingsError(f"size {size} is not a multiple of {multiple}; use {nearest}{others}")
    return size


def size_within(sizes: Sequence[tuple[int, int]], size: int, least: int = 256) -> int:
    """The size, or what most images have where that is less: the median of their shorter sides, at least `least`.

    Images that are enlarged show nothing new.

    >>> size_within([(1255, 500)], 384), size_within([(328, 272)], 384), size_within([(64, 64)], 384)
    (384, 272, 256)
    """
    return min(size, max(least, round(statistics.median(min(hw) for hw in sizes))))


def resize_mask(mask: Mask, hw: tuple[int, int]) -> Mask:
    """A mask at another size, each pixel that of the nearest in the original."""
    if mask.shape == hw:
        return mask
    resized = cv2.resize(mask.astype(np.uint8), (hw[1], hw[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, np.bool_)
