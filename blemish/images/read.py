"""Bytes of an image file -> its facts, and its pixels; one reader for each container.

Nothing here and in the readers knows of the rest of the package: `blemish export` writes these files beside its sample
programs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.images import bmp, jpeg, png, tiff, tiff_pixels, webp
from blemish.images.container import Container, ContainerError, ImageFormat, Source, Stored

MIN_SIDE = 16
"""Smallest height and width of an image, in pixels."""
MAX_FILE_BYTES = 2**31 - 1
"""Largest image file; the decoder counts bytes in 32 bits."""


@dataclass(frozen=True)
class _Reader:
    """How one container is read: the check of its content and its pixels."""

    check: Callable[[bytes, Container], None]
    decode: Callable[[bytes, Container], Stored]


_READERS: dict[ImageFormat, _Reader] = {
    "PNG": _Reader(png.check_png, png.decode_png),
    "JPEG": _Reader(jpeg.check_jpeg, jpeg.decode_jpeg),
    "BMP": _Reader(bmp.check_bmp, bmp.decode_bmp),
    "TIFF": _Reader(tiff_pixels.check_tiff, tiff_pixels.decode_tiff),
    "WebP": _Reader(webp.check_webp, webp.decode_webp),
}


def read_container(source: Source, page: int | None = None) -> Container:
    """The facts of an image file, from its structure; raises ContainerError where it is damaged or of another kind."""
    if not source.size:
        raise ContainerError("the file is empty")
    head = source.take(0, min(12, source.size))
    if head.startswith(tiff.SIGNATURES):
        return tiff.read_tiff(source, page)
    if head.startswith(png.SIGNATURE):
        container = png.read_png(source)
    elif head.startswith(b"\xff\xd8\xff"):
        container = jpeg.read_jpeg(source)
    elif head.startswith(b"BM"):
        container = bmp.read_bmp(source)
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        container = webp.read_webp(source)
    else:
        raise ContainerError("this is not a PNG, JPEG, BMP, TIFF or WebP file")
    if page is not None and page > 1:
        raise ContainerError(f"there is no page {page}: of a {container.format} file the first image is read")
    return container


def check_size(hw: tuple[int, int], max_pixels: int) -> None:
    """Raises ContainerError where an image of this height and width is too small or too large."""
    if min(hw) < MIN_SIDE:
        raise ContainerError(f"{hw[1]} x {hw[0]} pixels; the smallest image is {MIN_SIDE} x {MIN_SIDE}")
    check_pixels(hw, max_pixels)


def check_pixels(hw: tuple[int, int], max_pixels: int) -> None:
    """The upper limit alone: masks may be smaller than any image."""
    if hw[0] * hw[1] > max_pixels:
        limit = f"{max_pixels / 1_000_000:g} million"
        raise ContainerError(
            f"{hw[1]} x {hw[0]} pixels; the limit is {limit}: cut the image into parts, scale it down, or raise the "
            "limit (--max-pixels)"
        )


def check_content(data: bytes, container: Container) -> None:
    """Raises ContainerError where the file is not whole."""
    _READERS[container.format].check(data, container)


def decode_container(data: bytes, container: Container) -> Stored:
    """The pixels of a file whose content was checked, upright."""
    stored = _READERS[container.format].decode(data, container)
    if stored.pixels.shape[:2] != (container.height, container.width):
        raise ContainerError("its header and its pixels differ in size")
    pixels = turn(stored.pixels, container.orientation)
    if not pixels.flags.writeable:  # a part of the file's own bytes
        pixels = pixels.copy()
    return Stored(pixels, stored.white)


def decode_alpha(data: bytes, container: Container) -> NDArray[Any] | None:
    """The transparency of a file whose content was checked, upright: (height, width), 0 where it is transparent.

    None where the file has none, or none that can be read.
    """
    if container.format == "PNG":
        pixels = png.decode_png(data, container, with_alpha=True).pixels
    elif container.format == "WebP":
        pixels = webp.decode_webp(data, container, with_alpha=True).pixels
    else:
        pixels = _READERS[container.format].decode(data, container).pixels
    if not container.has_alpha or pixels.ndim != 3 or pixels.shape[2] != 4:
        return None
    return turn(pixels[..., 3], container.orientation)


def turn(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The pixels as they are meant to be seen, by the EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
