"""The one way into OpenCV's decoders: bytes of a file whose structure was checked -> stored pixels as RGB."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.images.container import ContainerError

_BAND_ROWS = 1024

# OpenCV's own lines would mix with ours on standard error; what failed is said in our errors.
_set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # OpenCV 4, OpenCV 5
_set_log_level(0)


def decode_bytes(data: bytes, *, with_alpha: bool = False) -> NDArray[Any]:
    """Gray (height, width) or RGB, or RGB with alpha, as stored: no orientation is applied."""
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION
    if with_alpha:
        flags = cv2.IMREAD_UNCHANGED
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, MemoryError) as error:
        raise ContainerError(f"the decoder refuses it ({' '.join(str(error).split())})") from error
    if pixels is None:
        raise ContainerError("the file is damaged or of a rare kind")
    if pixels.ndim == 3:
        _swap_red_and_blue(pixels)
    return pixels


def _swap_red_and_blue(pixels: NDArray[Any]) -> None:
    """Makes RGB of OpenCV's BGR in place, in bands, so that a large image is not held twice."""
    code = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    for top in range(0, len(pixels), _BAND_ROWS):
        band = pixels[top : top + _BAND_ROWS]
        cv2.cvtColor(band, code, dst=band)
