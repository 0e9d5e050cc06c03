"""Image files and arrays of any usual kind become uint8 RGB by fixed rules; nothing depends on a picture's content.

- gray is repeated into three channels; palettes become their colors;
- transparency is dropped: each pixel keeps its stored color (cameras often store an alpha that means nothing);
- 16-bit values are divided by 257 and rounded, never stretched per image: that would hide or invent defects;
- floating point values lie in [0, 1] and are multiplied by 255 and rounded;
- the orientation noted in the file (EXIF) is applied; color profiles are not;
- of a file with several pages the first counts.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from blemish.errors import ImageError
from blemish.files import why_not_a_file
from blemish.images.container import Container, ContainerError, read_container
from blemish.schema import Image, Mask

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

MAX_PIXELS = 500_000_000
"""Largest number of pixels of an image: 20,000 x 20,000 is allowed, 30,000 x 30,000 is not."""
MIN_SIDE = 16
"""Smallest height and width of an image, in pixels."""
MAX_FILE_BYTES = 2**31 - 1
"""Largest image file; the decoder counts bytes in 32 bits."""

LARGE_PIXELS = 50_000_000
"""Images of more pixels are decoded one after the other, whatever the number of threads."""

_BAND_ROWS = 1024
_one_large_image = threading.Lock()  # threads that decode ahead shall not fill the memory with large images
_HEAD_BYTES = 1 << 18  # enough for the header of all but odd files

# OpenCV's own lines would mix with ours on standard error; what failed is said in our errors.
_set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # OpenCV 4, OpenCV 5
_set_log_level(0)


def read_image(path: Path) -> Image:
    """The image of a file as uint8 RGB (height, width, 3), upright.

    Raises `ImageError`, with the file's name, where the file is missing, damaged, cut off, of another kind, smaller
    than `MIN_SIDE` or larger than `MAX_PIXELS`; the size is read from the header before anything is decoded.
    """
    return decode_image(_read_bytes(path), str(path))


def decode_image(data: bytes, name: str) -> Image:
    """The image in the bytes of a file, as `read_image` gives it; `name` stands in errors."""
    container = _read_container(name, data)
    _check_size(name, *container.oriented_hw)
    try:
        return _to_rgb(_decode(name, data, container))
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error


def read_image_hw(path: Path) -> tuple[int, int]:
    """Height and width of the upright image of a file, read from its header alone."""
    _check_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise ImageError(_say_unreadable(path, error)) from error
    try:
        return read_container(head, is_whole=False).oriented_hw
    except ContainerError:  # a large header, or a TIFF, whose directory may lie at the end
        return _read_container(str(path), _read_bytes(path)).oriented_hw


def as_image(array: NDArray[Any]) -> Image:
    """An array as uint8 RGB (height, width, 3), by the rules of this module.

    Takes gray (height, width) or (height, width, 1), RGB and RGBA, as uint8, uint16, bool, or floating point in [0, 1].
    Color is RGB: turn OpenCV's BGR around first.

    >>> as_image(np.full((32, 48), 65535, np.uint16))[0, 0]
    array([255, 255, 255], dtype=uint8)
    """
    if not isinstance(array, np.ndarray):
        raise ImageError(f"expected a NumPy array, got {type(array).__name__}; convert it, for example with np.asarray")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        hint = "; move the channels to the end" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise ImageError(
            f"expected an array of shape (height, width) or (height, width, 1, 3 or 4), got {array.shape}{hint}"
        )
    _check_size("array", *array.shape[:2])
    return _to_rgb(array)


def read_mask(path: Path) -> Mask:
    """The ground truth of a file as bool (height, width): True where any color is above zero.

    A JPEG file counts from 128, since compression leaves faint pixels around a defect. A folder holds several masks of
    one image (as in MVTec LOCO): their union.
    """
    if path.is_dir():
        return cast(Mask, np.any([part > 0 for part in read_mask_parts(path)], axis=0))
    pixels, container = _read_pixels(path)
    lowest = 128 if container.format == "JPEG" else np.nextafter(0, 1, dtype=np.float32)
    return _brightest(pixels) >= lowest


def read_mask_parts(path: Path) -> tuple[NDArray[Any], ...]:
    """The masks of one image as stored, each (height, width) of whole numbers, from a folder (or from one file).

    In MVTec LOCO the value of a mask's pixels says which kind of defect it is.
    """
    files = [path]
    if path.is_dir():
        files = sorted(part for part in path.iterdir() if part.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise ImageError(f"{path}: the folder holds no mask; put the masks of the image there as PNG files")
    parts = tuple(_brightest(_read_pixels(file)[0]) for file in files)
    if len({part.shape for part in parts}) > 1:
        raise ImageError(f"{path}: the masks in this folder differ in size; make them all as large as the image")
    return parts


def _brightest(pixels: NDArray[Any]) -> NDArray[Any]:
    """The largest color value of each pixel."""
    return cast("NDArray[Any]", pixels[..., :3].max(axis=2)) if pixels.ndim == 3 else pixels


def read_stored_pixels(path: Path) -> NDArray[Any]:
    """The pixels of a file as stored, in their own number type: gray (height, width), or RGB, or RGB with alpha.

    For files of measured values, such as anomaly maps; images go through `read_image`.
    """
    return _read_pixels(path)[0]


def _read_pixels(path: Path) -> tuple[NDArray[Any], Container]:
    data = _read_bytes(path)
    container = _read_container(str(path), data)
    _check_pixels(f"{path}", *container.oriented_hw)
    return _decode(str(path), data, container), container


def _check_file(path: Path) -> None:
    if reason := why_not_a_file(path):
        raise ImageError(f"{path}: {reason}")


def _read_bytes(path: Path) -> bytes:
    _check_file(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ImageError(f"{path}: the file is larger than 2 GB; store it compressed, as PNG or TIFF")
        return path.read_bytes()
    except OSError as error:
        raise ImageError(_say_unreadable(path, error)) from error


def _say_unreadable(path: Path, error: OSError) -> str:
    return f"{path}: cannot be read ({error.strerror or error}); check the file and its permissions"


def _read_container(name: str, data: bytes) -> Container:
    try:
        return read_container(data)
    except ContainerError as error:
        raise ImageError(f"{name}: {error}; copy or export the image again") from error


def _check_size(name: str, height: int, width: int) -> None:
    if min(height, width) < MIN_SIDE:
        raise ImageError(f"{name}: {width} x {height} pixels; the smallest image is {MIN_SIDE} x {MIN_SIDE}")
    _check_pixels(name, height, width)


def _check_pixels(name: str, height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width} x {height} pixels; the limit is {MAX_PIXELS // 1_000_000} million: "
            "cut the image into parts or scale it down"
        )


def _decode(name: str, data: bytes, container: Container) -> NDArray[Any]:
    """The stored pixels, upright: gray or RGB, or RGB with alpha."""
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
    if container.format != "TIFF":  # for TIFF the decoder always applies the orientation
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    elif container.alpha_at is not None:
        data = _drop_alpha_mark(data, container.alpha_at)
    try:
        with _one_large_image if container.height * container.width > LARGE_PIXELS else contextlib.nullcontext():
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, MemoryError) as error:
        raise ImageError(f"{name}: cannot be decoded ({error}); export the image again as PNG") from error
    if pixels is None:
        raise ImageError(f"{name}: the {container.format} file is damaged or of a rare kind; export it again as PNG")
    if pixels.ndim == 3:
        _swap_red_and_blue(pixels)
    if container.format != "TIFF":
        pixels = _turn(pixels, container.orientation)
    if pixels.shape[:2] != container.oriented_hw:
        raise ImageError(f"{name}: the file's header and its pixels differ in size; export the image again")
    return pixels


def _drop_alpha_mark(data: bytes, place: int) -> bytes:
    """The file without its mark of unassociated alpha: with it the decoder would blend the colors with black."""
    return data[:place] + b"\0\0" + data[place + 2 :]


def _swap_red_and_blue(pixels: NDArray[Any]) -> None:
    """Makes RGB of OpenCV's BGR in place, in bands, so that a large image is not held twice."""
    code = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    for top in range(0, len(pixels), _BAND_ROWS):
        band = pixels[top : top + _BAND_ROWS]
        cv2.cvtColor(band, code, dst=band)


def _turn(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The pixels as they are meant to be seen, by the EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _to_rgb(pixels: NDArray[Any]) -> Image:
    """uint8 with three channels, from any of the shapes and types of `as_image`."""
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = pixels[..., :3]
    eight_bit = _to_uint8(np.ascontiguousarray(pixels))
    if eight_bit.ndim == 2 or eight_bit.shape[2] == 1:
        return np.asarray(cv2.cvtColor(eight_bit, cv2.COLOR_GRAY2RGB), np.uint8)
    return eight_bit


def _to_uint8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return cast("NDArray[np.uint8]", pixels)
    if pixels.dtype == np.bool_:
        return cast("NDArray[np.uint8]", pixels.astype(np.uint8) * np.uint8(255))
    if pixels.dtype == np.uint16:
        # value / 257 is never halfway between two whole numbers, so the rounding is exact.
        return np.asarray(cv2.convertScaleAbs(pixels, alpha=1 / 257), np.uint8)
    if np.issubdtype(pixels.dtype, np.floating):
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= 0 and high <= 1):  # also refuses NaN
            raise ImageError(f"floating point pixels must lie in [0, 1], found {low:g} to {high:g}; scale them first")
        return cast("NDArray[np.uint8]", np.rint(pixels * 255).astype(np.uint8))
    raise ImageError(f"pixels of type {pixels.dtype}; convert them to uint8, uint16, bool or float in [0, 1]")
