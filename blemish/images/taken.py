"""Whatever holds an image in a Python program -> uint8 RGB: a path, bytes, an open file, an array, a PIL image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from blemish.errors import ImageError, SettingsError
from blemish.images.decode import as_image, decode_image, read_image
from blemish.images.read import turn
from blemish.schema import AS_THEY_ARE, Image, ReadSettings

Channels = Literal["rgb", "bgr"]
_ORIENTATION = 0x0112
_TAKEN = "a path, the bytes of a file, a file opened with 'rb', a NumPy array or a PIL image"


def load_image(
    given: Any, reading: ReadSettings = AS_THEY_ARE, *, channels: Channels = "rgb", name: str = "image"
) -> Image:
    """The image as uint8 RGB (height, width, 3).

    Takes a path, the bytes of an image file, a file opened with "rb", an array (see `as_image`) or what turns into one,
    and a PIL image. `channels` is the order of color arrays: "bgr" for those of OpenCV. Files and PIL images say their
    order themselves. Raises ImageError, with `name` where the image has none of its own.

    >>> load_image(np.full((32, 32, 3), (255, 0, 0), np.uint8), channels="bgr")[0, 0].tolist()
    [0, 0, 255]
    """
    if channels not in ("rgb", "bgr"):
        raise SettingsError(f"channels {channels!r} is not known: use 'rgb' or 'bgr'")
    if given is None:
        raise ImageError(
            f"{name}: None in place of an image; cv2.imread gives None where it cannot read a file: check its path, "
            "or give the path itself"
        )
    if isinstance(given, (str, Path)):
        return read_image(Path(given), reading)
    if isinstance(given, (bytes, bytearray, memoryview)):
        return decode_image(bytes(given), name, reading)
    if hasattr(given, "getexif") and hasattr(given, "mode"):
        return as_image(_pil_array(given, name), reading)
    if hasattr(given, "read"):
        return _read_open(given, reading, name)
    if isinstance(given, (list, tuple)):
        raise ImageError(f"{name}: a {type(given).__name__} in place of one image; give {_TAKEN}")
    if not hasattr(given, "__array__"):
        raise ImageError(f"{name}: cannot be taken from a {type(given).__name__}; give {_TAKEN}")
    try:
        array = np.asarray(given)
    except Exception as error:  # an array of another library, for example on a GPU
        raise ImageError(f"{name}: this {type(given).__name__} gives no NumPy array ({error}); convert it") from error
    return as_image(_in_rgb(array, channels), reading)


def is_batch(given: Any) -> bool:
    """Whether several images were given: a list or tuple, or an array (number, height, width, channels)."""
    return isinstance(given, (list, tuple)) or (isinstance(given, np.ndarray) and given.ndim == 4)


def load_images(given: Sequence[Any], reading: ReadSettings, channels: Channels) -> tuple[Image | Path, ...]:
    """Several images as uint8 RGB; paths stay paths. Errors name the image by its number."""
    return tuple(
        Path(each)
        if isinstance(each, (str, Path))
        else load_image(each, reading, channels=channels, name=f"image {number}")
        for number, each in enumerate(given)
    )


def _in_rgb(array: NDArray[Any], channels: Channels) -> NDArray[Any]:
    if channels == "rgb" or array.ndim != 3 or array.shape[2] not in (3, 4):
        return array
    return np.ascontiguousarray(array[..., [2, 1, 0, 3][: array.shape[2]]])


def _read_open(file: Any, reading: ReadSettings, name: str) -> Image:
    shown = str(getattr(file, "name", "") or name)
    try:
        content = file.read()
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise ImageError(f"{shown}: cannot be read ({error}); open it with 'rb'") from error
    if not isinstance(content, bytes):
        raise ImageError(f"{shown}: was opened as text; open it with 'rb'")
    if not content:
        raise ImageError(f"{shown}: nothing is left to read; open it anew, or go back to its start with seek(0)")
    return decode_image(content, shown, reading)


def _pil_array(image: Any, name: str) -> NDArray[Any]:
    """The pixels of a PIL image, upright as its file would be read; transparency is dropped."""
    try:
        mode = image.mode
        if mode in ("1", "La"):
            array = np.asarray(image.convert("L"))
        elif mode == "LA":
            array = np.asarray(image)[..., 0]
        elif mode == "I":
            array = _gray_16_bit(np.asarray(image), name)
        elif mode in ("L", "RGB", "RGBA", "F") or mode.startswith("I;16"):
            array = np.asarray(image)
        else:
            array = np.asarray(image.convert("RGB"))
        # An image made by PIL itself has no file, and is as its maker wants it.
        orientation = image.getexif().get(_ORIENTATION, 1) if image.format else 1
    except ImageError:
        raise
    except Exception as error:  # a damaged file is decoded only here
        raise ImageError(f"{name}: PIL cannot give its pixels ({error}); copy or export the image again") from error
    return turn(array, orientation) if orientation in range(1, 9) else array


def _gray_16_bit(array: NDArray[Any], name: str) -> NDArray[np.uint16]:
    if array.size and not 0 <= array.min() <= array.max() <= 65535:
        raise ImageError(f"{name}: a PIL image of mode I with values outside 0 to 65535; scale it to 16 bits")
    return array.astype(np.uint16)
