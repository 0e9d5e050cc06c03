"""Images of one size, read from their files when they are asked for."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, overload

from numpy.typing import NDArray

from blemish.alignment.frame import straighten
from blemish.errors import ImageError
from blemish.images.decode import read_image, read_image_hw
from blemish.images.resize import resize_image
from blemish.schema import AS_THEY_ARE, Alignment, Image, Progress, ReadSettings, silent

CACHE_BYTES = 256 * 2**20
"""Memory that a `ResizedImages` keeps decoded images in; 1,300 images of 256 x 256 pixels fit."""

MOST_AHEAD = 4
"""Threads that decode ahead, at most: each holds whole images."""


class ResizedImages(Sequence[Image]):
    """The images of files (or arrays) resized to one (height, width), each decoded when it is first asked for.

    With an `alignment` the frame of the part is cut out of each before.
    Decoded images stay in memory up to `cache_bytes` and cannot be written to. Going through all of them decodes ahead
    in up to `threads` threads, with 1 in none. An unreadable file raises `ImageError` when its turn comes: see
    `find_unreadable`.
    """

    def __init__(
        self,
        sources: Sequence[Path | Image],
        hw: tuple[int, int],
        reading: ReadSettings = AS_THEY_ARE,
        cache_bytes: int = CACHE_BYTES,
        *,
        alignment: Alignment | None = None,
        threads: int = 1,
    ) -> None:
        self.hw = hw
        self._alignment = alignment
        self._reading = reading
        self._threads = min(threads, MOST_AHEAD)
        self._sources = tuple(sources)
        self._places = tuple(range(len(self._sources)))
        self._cache: dict[int, Image] = {}
        self._max_cached = cache_bytes // (hw[0] * hw[1] * 3)

    def subset(self, places: Sequence[int] | NDArray[Any]) -> ResizedImages:
        """Some of the images, in the given order; what is decoded is shared with this sequence."""
        part = copy.copy(self)
        part._places = tuple(self._places[int(place)] for place in places)
        return part

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> ResizedImages: ...
    def __getitem__(self, index: int | slice) -> Image | ResizedImages:
        if isinstance(index, slice):
            return self.subset(range(len(self))[index])
        place = self._places[index]
        image = self._cache.get(place)
        return self._read(place) if image is None else image

    def __iter__(self) -> Iterator[Image]:
        if self._threads == 1 or all(place in self._cache for place in self._places):
            yield from (self[index] for index in range(len(self)))
            return
        with ThreadPoolExecutor(self._threads) as pool:
            ahead: deque[Future[Image]] = deque()
            try:
                for index in range(len(self)):
                    ahead.append(pool.submit(self.__getitem__, index))
                    if len(ahead) > 2 * self._threads:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()

    def _read(self, place: int) -> Image:
        image = resize_image(_whole(self._sources[place], self._reading, self._alignment), self.hw)
        image = image[:]  # a view: an array given by the user stays writable
        image.flags.writeable = False
        if len(self._cache) < self._max_cached:
            self._cache[place] = image
        return image


class ImageFiles(Sequence[Image]):
    """The images of files (or arrays) at their own size, each read when it is asked for and not kept.

    With an `alignment` each is the frame of the part.
    """

    def __init__(
        self,
        sources: Sequence[Path | Image],
        reading: ReadSettings = AS_THEY_ARE,
        alignment: Alignment | None = None,
    ) -> None:
        self._sources = tuple(sources)
        self._reading = reading
        self._alignment = alignment

    def __len__(self) -> int:
        return len(self._sources)

    def subset(self, places: Sequence[int] | NDArray[Any]) -> ImageFiles:
        """Some of the images, in the given order."""
        return ImageFiles([self._sources[int(place)] for place in places], self._reading, self._alignment)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> ImageFiles: ...
    def __getitem__(self, index: int | slice) -> Image | ImageFiles:
        if isinstance(index, slice):
            return ImageFiles(self._sources[index], self._reading, self._alignment)
        return _whole(self._sources[index], self._reading, self._alignment)


def _whole(source: Path | Image, reading: ReadSettings, alignment: Alignment | None) -> Image:
    """What there is to see of a source at its own size."""
    image = read_image(source, reading) if isinstance(source, Path) else source
    return image if alignment is None else straighten(image, alignment).image


def find_unreadable(
    paths: Sequence[Path], progress: Progress = silent, reading: ReadSettings = AS_THEY_ARE, *, threads: int = 1
) -> tuple[tuple[Path, str], ...]:
    """The files that `read_image` refuses, each with the reason; every file is decoded to the end."""
    found: list[tuple[Path, str]] = []

    def find_fault(path: Path) -> str:
        try:
            read_image(path, reading)
        except ImageError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(min(threads, MOST_AHEAD)) as pool:
        for done, (path, reason) in enumerate(zip(paths, pool.map(find_fault, paths), strict=True), start=1):
            if reason:
                found.append((path, reason))
            progress("checking images", done, len(paths))
    return tuple(found)


def sizes_of(
    sources: Sequence[Path | Image], reading: ReadSettings = AS_THEY_ARE, *, threads: int = 1
) -> list[tuple[int, int]]:
    """Height and width of each image, in the order given; those of files are read from their headers."""
    from_files = iter(
        read_image_sizes([source for source in sources if isinstance(source, Path)], reading, threads=threads)
    )
    return [next(from_files) if isinstance(source, Path) else (source.shape[0], source.shape[1]) for source in sources]


def read_image_sizes(
    paths: Sequence[Path], reading: ReadSettings = AS_THEY_ARE, *, threads: int = 1
) -> tuple[tuple[int, int], ...]:
    """Height and width of each image, from the headers alone."""
    with ThreadPoolExecutor(threads) as pool:
        return tuple(pool.map(lambda path: read_image_hw(path, reading), paths))
