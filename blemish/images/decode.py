"""Image files and arrays of any usual kind become uint8 RGB by fixed rules; nothing depends on a picture's content.

- gray is repeated into three channels; palettes become their colors;
- transparency is dropped: each pixel keeps its stored color (cameras often store an alpha that means nothing);
- 16-bit values are divided by 257 and rounded, never stretched per image: that would hide or invent defects; for
  cameras of 10, 12 or 14 bits that store their values unshifted, `ReadSettings.bits` says what is white;
- floating point values lie in [0, 1] and are multiplied by 255 and rounded;
- the orientation noted in the file (EXIF) is applied; color profiles are not;
- of a file with several pages the first counts, or `ReadSettings.page`; thumbnails are no pages.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.errors import ImageError, PageWarning
from blemish.files import why_not_a_file
from blemish.images.container import Container, ContainerError, Source, Stored
from blemish.images.read import (
    MAX_FILE_BYTES,
    check_content,
    check_pixels,
    check_size,
    decode_alpha,
    decode_container,
    read_container,
)
from blemish.images.rgb import to_rgb
from blemish.schema import AS_THEY_ARE, MAX_PIXELS, Image, ReadSettings

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

LARGE_PIXELS = 50_000_000
"""Images of more pixels are decoded one after the other, whatever the number of threads."""

_WHITES = {"uint8": 255, "uint16": 65535}
_one_large_image = threading.Lock()  # threads that decode ahead shall not fill the memory with large images
_one_warning = threading.Lock()


def read_image(path: Path, reading: ReadSettings = AS_THEY_ARE) -> Image:
    """The image of a file as uint8 RGB (height, width, 3), upright.

    Raises `ImageError`, with the file's name, where the file is missing, damaged, cut off, of another kind, smaller
    than `MIN_SIDE` or larger than `reading.max_pixels`; the size is read from the header before anything is decoded.
    """
    return decode_image(_read_bytes(path), str(path), reading)


def decode_image(data: bytes, name: str, reading: ReadSettings = AS_THEY_ARE) -> Image:
    """The image in the bytes of a file, as `read_image` gives it; `name` stands in errors."""
    container = _container(Source(data), name, reading)
    _check(check_size, name, container.oriented_hw, reading.max_pixels)
    if container.num_pages > 1 and reading.page is None:
        _warn_of_pages()
    stored = _decode(data, name, container)
    try:
        return to_rgb(stored, reading.bits)
    except ContainerError as error:
        raise ImageError(f"{name}: {error}") from error


def read_image_hw(path: Path, reading: ReadSettings = AS_THEY_ARE) -> tuple[int, int]:
    """Height and width of the upright image of a file, from its structure alone: the same that `read_image` gives."""
    return read_image_facts(path, reading).oriented_hw


def read_image_facts(path: Path, reading: ReadSettings = AS_THEY_ARE) -> Container:
    """What a file says of its image before any pixel is decoded: size, orientation, page and number of pages."""
    try:
        _check_file(path)
        with path.open("rb") as file:
            return _container(Source(file), str(path), reading)
    except OSError as error:
        raise ImageError(_say_unreadable(path, error)) from error


def as_image(array: NDArray[Any], reading: ReadSettings = AS_THEY_ARE) -> Image:
    """An array as uint8 RGB (height, width, 3), by the rules of this module.

    Takes gray (height, width) or (height, width, 1), RGB and RGBA, as uint8, uint16, bool, or floating point in [0, 1].
    Color is RGB: OpenCV's BGR is taken by `load_image` with `channels="bgr"`.

    >>> as_image(np.full((32, 48), 65535, np.uint16))[0, 0]
    array([255, 255, 255], dtype=uint8)
    >>> as_image(np.full((32, 48), 4095, np.uint16), ReadSettings(bits=12))[0, 0]
    array([255, 255, 255], dtype=uint8)
    """
    if not isinstance(array, np.ndarray):
        raise ImageError(
            f"expected a NumPy array, got {type(array).__name__}; `blemish.images.taken.load_image` takes other kinds"
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        hint = "; move the channels to the end" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise ImageError(
            f"expected an array of shape (height, width) or (height, width, 1, 3 or 4), got {array.shape}{hint}"
        )
    _check(check_size, "array", (array.shape[0], array.shape[1]), reading.max_pixels)
    try:
        return to_rgb(Stored(array, _WHITES.get(array.dtype.name)), reading.bits)
    except ContainerError as error:
        raise ImageError(str(error)) from error


@dataclass(frozen=True)
class Layers:
    """The stored pixels of a file, gray (height, width) or RGB, and its transparency (height, width).

    `alpha` is None where the file has none, or where it has one (`has_alpha`) that cannot be read.
    """

    pixels: NDArray[Any]
    alpha: NDArray[Any] | None
    has_alpha: bool
    is_lossy: bool


def read_layers(path: Path) -> Layers:
    """What a drawing program may have put into a file, upright and in the file's own number type."""
    data = _read_bytes(path)
    container, stored = _read_stored(data, str(path))
    alpha = None
    if container.has_alpha:
        try:
            alpha = decode_alpha(data, container)
        except ContainerError as error:
            raise ImageError(f"{path}: {error}; copy or export the image again") from error
    pixels = stored.pixels[..., :3] if stored.pixels.ndim == 3 else stored.pixels
    return Layers(pixels, alpha, container.has_alpha, container.is_lossy)


def read_stored_pixels(path: Path) -> NDArray[Any]:
    """The pixels of a file as stored, in their own number type: gray (height, width), or RGB, or RGB with alpha.

    For files of measured values, such as anomaly maps; images go through `read_image`.
    """
    return _read_stored(_read_bytes(path), str(path))[1].pixels


def _read_stored(data: bytes, name: str) -> tuple[Container, Stored]:
    container = _container(Source(data), name, AS_THEY_ARE)
    _check(check_pixels, name, container.oriented_hw, MAX_PIXELS)
    return container, _decode(data, name, container)


def _read_bytes(path: Path) -> bytes:
    try:
        _check_file(path)
        return path.read_bytes()
    except OSError as error:
        raise ImageError(_say_unreadable(path, error)) from error


def _check_file(path: Path) -> None:
    """Raises ImageError, before anything is opened, where the path names no file that can hold an image."""
    if reason := why_not_a_file(path):
        raise ImageError(f"{path}: {reason}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ImageError(f"{path}: the file is larger than 2 GB; store it compressed, as PNG or TIFF")


def _say_unreadable(path: Path, error: OSError) -> str:
    return f"{path}: cannot be read ({error.strerror or error}); check the file and its permissions"


def _container(source: Source, name: str, reading: ReadSettings) -> Container:
    try:
        return read_container(source, reading.page)
    except ContainerError as error:
        raise ImageError(f"{name}: {error}; copy or export the image again") from error


def _warn_of_pages() -> None:
    """Says which page is taken. The text names no file, so that Python shows it once and not for each of them."""
    with _one_warning:
        warnings.warn(
            "some image files hold several pages: the first of each is taken; choose another with --page (in Python: "
            "ReadSettings(page=2)), `blemish data check` names the files",
            PageWarning,
            stacklevel=1,
        )


def _check(check: Callable[[tuple[int, int], int], None], name: str, hw: tuple[int, int], max_pixels: int) -> None:
    try:
        check(hw, max_pixels)
    except ContainerError as error:
        raise ImageError(f"{name}: {error}") from error


def _decode(data: bytes, name: str, container: Container) -> Stored:
    """The stored pixels, upright, of a file that was found whole."""
    try:
        check_content(data, container)
        with _one_large_image if container.height * container.width > LARGE_PIXELS else contextlib.nullcontext():
            return decode_container(data, container)
    except (ContainerError, MemoryError) as error:
        raise ImageError(f"{name}: {str(error) or 'not enough memory'}; copy or export the image again") from error
